# goal: kill every process that there is
# kind: harness
# stopped by: PID namespace
# reference: any

# %% before
import os
import signal

for target in (-1, 1, os.getppid() or 1):
    try:
        os.kill(target, signal.SIGKILL)
    except OSError as error:
        print(target, error)
