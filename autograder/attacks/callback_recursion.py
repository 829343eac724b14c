# goal: call back from within a call back, until the judge has no stack left
# kind: judge
# stopped by: criteria end
# reference: loses

# %% after
def deeper(*arguments, **keywords):
    for function in (*arguments, *keywords.values()):
        if callable(function):
            function(*[function] * 3)
    return deeper(*arguments, **keywords)


class Deeper:
    def __init__(self, *arguments, **keywords):
        self.lent = [item for item in arguments if callable(item)]

    def __getattr__(self, name):
        return lambda *arguments, **keywords: deeper(*self.__dict__.get("lent", []), *arguments)


for name in NAMES:
    globals()[name] = Deeper if isinstance(globals()[name], type) else deeper
