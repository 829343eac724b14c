# goal: nest the notebook so deeply that reading it fails
# kind: harness
# stopped by: bounded reading
# reference: nothing
# says: nested too deeply

# %% folder
(folder / f"{name}.ipynb").write_text("[" * 1_000_000 + "]" * 1_000_000)
