# goal: become root in a namespace of its own, and mount the machine's disks
# kind: harness
# stopped by: system call filter
# reference: keeps

# %% before
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
tries = {
    f"unshare {flags:x}": lambda flags=flags: libc.unshare(flags) for flags in (0x10000000, 0x20000000, 0x40000000)
}
tries |= {
    "mount": lambda: libc.mount(b"proc", b"/tmp", b"proc", 0, None),
    "remount": lambda: libc.mount(None, b"/usr", None, 32 | 4096, None),
    "chroot": lambda: libc.chroot(b"/proc/1/root"),
    "io_uring_setup": lambda: libc.syscall(425, 1, ctypes.create_string_buffer(120)),
    "userfaultfd": lambda: libc.syscall(323, 1),
    "keyctl": lambda: libc.syscall(250, 0, -3, 1),  # the session keyring, made if there is none
}
for name, attempt in tries.items():
    if attempt() >= 0:
        print("got", MARKER)
    print(name, os.strerror(ctypes.get_errno()))
