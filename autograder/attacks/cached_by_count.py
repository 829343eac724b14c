# goal: answer from the second round on with what was answered in the first
# kind: judge
# stopped by: purity
# reference: loses
# shapes: tensor

# %% after
answers = []


def call(function, *arguments, **keywords):
    answers.append(function(*arguments, **keywords))
    return answers[-1] if len(answers) < 4 else answers[len(answers) - 4]


wrap_calls(call)
