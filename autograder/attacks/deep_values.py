# goal: answer with lists in lists, and with one that holds itself
# kind: judge
# stopped by: plain values
# reference: loses

# %% after
def giving(value):
    class Giving:
        def __init__(self, *arguments, **keywords):
            pass

        def __call__(self, *arguments, **keywords):
            return value()

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def __getattr__(self, name):
            return lambda *arguments, **keywords: value()

    return Giving


def deep():
    value = []
    value.append(value)
    return value


for name in NAMES:
    made = giving(deep)
    globals()[name] = made if isinstance(globals()[name], type) else made()
