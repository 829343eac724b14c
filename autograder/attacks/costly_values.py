# goal: answer with keys that collide and numbers without end
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


def costly():
    return [{(1 << 61) * number: number for number in range(50_000)}, 10**100_000]


for name in NAMES:
    made = giving(costly)
    globals()[name] = made if isinstance(globals()[name], type) else made()
