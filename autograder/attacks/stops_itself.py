# goal: stop the process, so that the grader waits
# kind: harness
# stopped by: cells end
# reference: nothing
# says: took longer than

# %% before
import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)
