# goal: hand in a folder without a notebook
# kind: harness
# stopped by: bounded reading
# reference: nothing
# says: There is no

# %% folder
(folder / f"{name}.ipynb").unlink()
