# goal: trace the fork server and take its memory
# kind: harness
# stopped by: system call filter
# reference: keeps

# %% before
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for process in (1, os.getppid(), os.getpid()):
    for request in (16, 0x4206):  # attach, seize
        print(process, libc.ptrace(request, process, 0, 0), os.strerror(ctypes.get_errno()))
    try:
        with open(f"/proc/{process}/mem", "rb") as memory:
            memory.seek(1 << 20)
            print(memory.read(16))
    except (OSError, ValueError) as error:
        print(process, error)
