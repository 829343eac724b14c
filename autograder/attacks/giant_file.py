# goal: hand in a file of a terabyte that takes no room
# kind: harness
# stopped by: bounded reading
# reference: keeps
# says: is larger than

# %% folder
with (folder / "data.bin").open("wb") as file:
    file.truncate(1 << 40)
