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
        if libc.ptrace(request, process, 0, 0) == 0:
            print("got", MARKER)
        print(process, os.strerror(ctypes.get_errno()))
try:
    with open("/proc/1/mem", "rb"):
        print("got", MARKER)
except OSError as error:
    print(error)
if libc.ptrace(0, 0, 0, 0) == 0:  # be traced
    print("got", MARKER)
