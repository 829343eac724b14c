# goal: hand in what is no JSON, so that grading stops for all
# kind: harness
# stopped by: bounded reading
# reference: nothing
# says: is not JSON

# %% folder
(folder / f"{name}.ipynb").write_bytes(b"\x00{not json" * 1000)
