# goal: hand in JSON that is no notebook
# kind: harness
# stopped by: bounded reading
# reference: nothing
# says: is not a notebook

# %% folder
(folder / f"{name}.ipynb").write_text('{"format": [], "cells": {"cell_type": "code"}}')
