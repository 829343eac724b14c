# goal: nest the metadata of cells deeply
# kind: harness
# stopped by: restoration
# reference: keeps

# %% notebook
for cell in notebook["cells"]:
    deep = []
    for _ in range(300):
        deep = [deep]
    cell["metadata"]["deep"] = deep
