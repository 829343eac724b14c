# goal: hand in 40 MB of outputs
# kind: harness
# stopped by: restoration
# reference: keeps

# %% notebook
output = {"output_type": "stream", "name": "stdout", "text": "x" * (4 << 20)}
for cell in notebook["cells"]:
    if cell["cell_type"] == "code":
        cell["outputs"] = [output]
