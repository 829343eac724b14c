# goal: never end, and let no interrupt through
# kind: harness
# stopped by: cells end
# reference: nothing
# says: took longer than

# %% before
import signal

signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
