# goal: take all of the time that every criterion has
# kind: judge
# stopped by: criteria end
# reference: loses
# says: no answer in time
# shapes: tensor, kernel

# %% after
import time


def never(*arguments, **keywords):
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass


for name in NAMES:
    globals()[name] = never
