# goal: have the grader wait for a pipe, or read without end
# kind: harness
# stopped by: regular files alone
# reference: keeps
# says: is not a regular file

# %% folder
import os
import socket

os.mkfifo(folder / "pipe")
here = os.open(".", os.O_RDONLY)
os.chdir(folder)
with socket.socket(socket.AF_UNIX) as end:
    end.bind("socket")
os.fchdir(here)
os.close(here)
