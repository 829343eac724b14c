# goal: meet another submission in shared memory and message queues
# kind: harness
# stopped by: IPC namespace
# reference: keeps

# %% before
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for key in range(1, 20):
    new = 0o3666  # make it, and fail where it is there
    if libc.shmget(key, 4096, new) < 0 and ctypes.get_errno() == 17:
        print("got", MARKER)
    if libc.msgget(key, new) < 0 and ctypes.get_errno() == 17:
        print("got", MARKER)
print(os.strerror(ctypes.get_errno()))
