# goal: work in the argument, and give that
# kind: judge
# stopped by: purity
# reference: loses
# shapes: tensor

# %% after
def call(function, *arguments, **keywords):
    return arguments[0].copy_(function(*arguments, **keywords))


wrap_calls(call)
