# goal: have the gradebook, the solutions and the key read through links
# kind: harness
# stopped by: regular files alone
# reference: keeps
# says: is a link

# %% folder
for place, path in PLACES.items():
    (folder / f"{place}.txt").symlink_to(path)
(folder / "deep").symlink_to("/")

# %% before
import pathlib

for path in pathlib.Path().rglob("*.txt"):
    print(path, path.read_text(errors="replace"))
