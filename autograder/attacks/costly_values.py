# goal: answer with keys that collide and numbers without end
# kind: judge
# stopped by: plain values
# reference: loses

# %% after
def costly():
    return [{(1 << 61) * number: number for number in range(50_000)}, 10**100_000]


answer_always(costly)
