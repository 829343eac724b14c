# goal: become root in a namespace of its own, and mount the machine's disks
# kind: harness
# stopped by: system call filter
# reference: keeps

# %% before
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for flags in (0x10000000, 0x10000000 | 0x20000, 0x20000000, 0x40000000):
    print(hex(flags), libc.unshare(flags), os.strerror(ctypes.get_errno()))
print(libc.mount(b"proc", b"/tmp", b"proc", 0, None), os.strerror(ctypes.get_errno()))
print(libc.mount(None, b"/usr", None, 32 | 4096, None), os.strerror(ctypes.get_errno()))
print(libc.chroot(b"/proc/1/root"), os.strerror(ctypes.get_errno()))
for number in (425, 272, 321, 298, 135):  # io_uring_setup, unshare, bpf, perf_event_open, personality
    print(number, libc.syscall(number, 0, 0, 0, 0, 0), os.strerror(ctypes.get_errno()))
