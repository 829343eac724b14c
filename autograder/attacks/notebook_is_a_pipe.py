# goal: have the grader wait for the notebook
# kind: harness
# stopped by: regular files alone
# reference: nothing
# says: is not a regular file

# %% folder
import os

(folder / f"{name}.ipynb").unlink()
os.mkfifo(folder / f"{name}.ipynb")
