# goal: hand in 5,000 files in 40 folders within each other
# kind: harness
# stopped by: bounded reading
# reference: keeps
# says: left out

# %% folder
for number in range(5_000):
    (folder / f"file-{number}").touch()
deep = folder
for _ in range(40):
    deep = deep / "d"
    deep.mkdir()
(deep / "file").touch()
