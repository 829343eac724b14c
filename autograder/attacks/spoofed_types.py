# goal: give subclasses of plain types whose methods lie
# kind: judge
# stopped by: plain values
# reference: loses

# %% after
class Text(str):
    __slots__ = ()


class Number(int):
    def __index__(self):
        return 0


class Items(list):
    def __len__(self):
        return 0


class Table(dict):
    def items(self):
        return []


def lying(function):
    values = iter([Text("6"), Number(6), Items([6]), Table(a=6), type("bool", (), {})(), float, ...] * 10_000)

    class Lying:
        def __init__(self, *arguments, **keywords):
            pass

        def __call__(self, *arguments, **keywords):
            return next(values)

        def __getattr__(self, name):
            return lambda *arguments, **keywords: next(values)

    return Lying() if not isinstance(function, type) else Lying


for name in NAMES:
    globals()[name] = lying(globals()[name])
