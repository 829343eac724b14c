# goal: hand in 40 MB of pictures, pasted into a cell of text
# kind: harness
# stopped by: bounded reading
# reference: keeps
# says: has pictures of more than

# %% notebook
picture = {"image/png": "A" * (4 << 20)}
attachments = {f"{number}.png": picture for number in range(9)}
notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "Look.", "attachments": attachments})
