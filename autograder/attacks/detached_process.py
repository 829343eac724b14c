# goal: leave a process that lives on and writes later
# kind: harness
# stopped by: PID namespace
# reference: keeps

# %% before
import os
import time

for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for descriptor in range(256):
                try:
                    os.close(descriptor)
                except OSError:
                    pass
            time.sleep(600)
        os._exit(0)
