# goal: answer with more than the judge can hold
# kind: judge
# stopped by: plain values
# reference: loses

# %% after
answer_always(lambda: "x" * (200 << 20))
