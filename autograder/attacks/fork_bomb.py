# goal: start processes until the machine has none left
# kind: harness
# stopped by: processes are bounded
# reference: any

# %% before
import os
import time

try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
except OSError as error:
    print(error)
