# goal: start threads until the machine has none left
# kind: harness
# stopped by: processes are bounded
# reference: any

# %% before
import threading
import time

try:
    while True:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
except RuntimeError as error:
    print(error)
