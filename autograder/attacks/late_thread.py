# goal: give an empty result, and fill it while the judge looks elsewhere
# kind: judge
# stopped by: purity
# reference: loses
# shapes: tensor

# %% after
import threading
import time
import torch


def call(function, *arguments, **keywords):
    right = function(*arguments, **keywords)
    result = torch.zeros_like(right)

    def fill():
        time.sleep(0.05)
        result.copy_(right)

    threading.Thread(target=fill).start()
    return result


wrap_calls(call)
