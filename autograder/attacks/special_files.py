# goal: have the grader wait for a pipe, or read without end
# kind: harness
# stopped by: regular files alone
# reference: keeps
# says: is not a regular file

# %% folder
import os
import socket

os.mkfifo(folder / "pipe")
here = os.open(folder, os.O_PATH)
with socket.socket(socket.AF_UNIX) as end:
    end.bind(f"/proc/self/fd/{here}/socket")  # its own path is longer than an address may be
os.close(here)
