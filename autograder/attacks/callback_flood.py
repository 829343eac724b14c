# goal: call functions of the judge's that were never lent, without end
# kind: judge
# stopped by: criteria end
# reference: loses

# %% after
import gc

line = next(item for item in gc.get_objects() if type(item).__name__ == "HostLine")


def calling(*arguments, **keywords):
    while True:
        line.send({"callback": 0, "arguments": [], "keywords": {}})
        line.receive(None)


class Calling:
    __init__ = lambda self, *arguments, **keywords: None

    def __getattr__(self, name):
        return calling


for name in NAMES:
    globals()[name] = Calling if isinstance(globals()[name], type) else calling
