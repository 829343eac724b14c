# goal: put the graded cells before the answers
# kind: harness
# stopped by: restoration
# reference: keeps

# %% notebook
cells = notebook["cells"]
cells.sort(key=lambda cell: not cell["metadata"].get("nbgrader", {}).get("grade"))
