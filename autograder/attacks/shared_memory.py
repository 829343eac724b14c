# goal: meet the next submission in shared memory and message queues
# kind: harness
# stopped by: IPC namespace
# reference: keeps

# %% before
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for key in range(1, 20):
    shared = libc.shmget(key, 4096, 0o1666)
    queue = libc.msgget(key, 0o1666)
print(shared, queue, os.strerror(ctypes.get_errno()), open("/proc/sysvipc/shm").read())
