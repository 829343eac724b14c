# goal: kill every process that there is
# kind: harness
# stopped by: PID namespace
# reference: any

# %% before
import os
import signal

others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]
if others:
    print("got", MARKER)
for target in (-1, 1, os.getppid() or 1, *others):
    try:
        os.kill(target, signal.SIGKILL)
    except OSError as error:
        print(target, error)
