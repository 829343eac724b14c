# goal: hand in cells that are no cells, and texts that no file can hold
# kind: harness
# stopped by: restoration
# reference: keeps
# says: no cells were left out

# %% notebook
odd = [None, 7, [], {}, {"cell_type": "code"}, {"cell_type": "code", "source": {"a": 1}}]
odd += [{"cell_type": "markdown", "source": "\ud800", "metadata": {"nbgrader": {"grade_id": ["x"]}}}]
notebook["cells"] += odd
