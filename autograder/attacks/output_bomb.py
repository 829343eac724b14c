# goal: print without end
# kind: harness
# stopped by: bounded outputs
# reference: any

# %% before
while True:
    print("and on and on " * 100)
