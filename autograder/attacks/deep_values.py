# goal: answer with lists in lists, and with one that holds itself
# kind: judge
# stopped by: plain values
# reference: loses

# %% after
def deep():
    value = []
    value.append(value)
    return value


answer_always(deep)
