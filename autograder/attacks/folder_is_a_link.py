# goal: hand in a link to another student's folder
# kind: harness
# stopped by: regular files alone
# reference: nothing
# says: is a link

# %% folder
import pathlib
import shutil

shutil.rmtree(folder)
folder.symlink_to(pathlib.Path(PLACES["neighbour"]).parent)
