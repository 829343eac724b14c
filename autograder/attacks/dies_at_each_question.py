# goal: end the process whenever it is asked
# kind: judge
# stopped by: a process for each failure
# reference: loses
# says: the process died

# %% after
import os


def dies(*arguments, **keywords):
    os._exit(0)


for name in NAMES:
    globals()[name] = dies
