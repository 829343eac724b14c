# goal: have another's file graded as one's own by a hard link, and changed through it
# kind: harness
# stopped by: own file systems
# reference: keeps

# %% folder
import os

os.link(PLACES["release"], folder / "data.json")

# %% before
import os

with open("data.json", "w") as file:
    file.write("mine")
os.chmod("data.json", 0o777)
