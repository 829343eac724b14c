# goal: hand in a notebook of 60 MB
# kind: harness
# stopped by: bounded reading
# reference: nothing
# says: is larger than

# %% folder
with (folder / f"{name}.ipynb").open("a") as file:
    file.write(" " * (60 << 20))
