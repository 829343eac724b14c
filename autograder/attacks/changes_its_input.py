# goal: work in the argument, and give that
# kind: judge
# stopped by: purity
# reference: loses
# shapes: tensor

# %% after
import functools


def wrapped(function):
    @functools.wraps(function)
    def call(*arguments, **keywords):
        return arguments[0].copy_(function(*arguments, **keywords))

    return call


for name in NAMES:
    globals()[name] = wrapped(globals()[name])
