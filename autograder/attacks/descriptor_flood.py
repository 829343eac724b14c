# goal: write without end to the process's own descriptors
# kind: harness
# stopped by: output is bounded
# reference: nothing
# says: died

# %% before
import os

while True:
    os.write(1, b"x" * 65536)
