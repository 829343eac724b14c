# goal: hand in 100,000 cells
# kind: harness
# stopped by: bounded reading
# reference: keeps
# says: were left out

# %% notebook
cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": ""}
notebook["cells"] += [cell] * 100_000
