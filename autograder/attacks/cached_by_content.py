# goal: give the very tensor that was given to who asked the same before
# kind: judge
# stopped by: purity
# reference: loses
# shapes: tensor

# %% after
answers = {}


def call(function, *arguments, **keywords):
    key = arguments[0].numpy().tobytes(), arguments[0].shape
    if key not in answers:
        answers[key] = function(*arguments, **keywords)
    return answers[key]


wrap_calls(call)
