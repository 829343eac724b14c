# goal: have another student's notebook graded as one's own
# kind: harness
# stopped by: regular files alone
# reference: nothing
# says: is a link

# %% folder
notebook = folder / f"{name}.ipynb"
notebook.unlink()
notebook.symlink_to(PLACES["neighbour"])
