# goal: have the judge parse a megabyte of code for each question about a kernel
# kind: judge
# stopped by: allowed kernels
# reference: any
# shapes: kernel

# %% before
get_ipython().input_transformers_cleanup.append(lambda lines: [])

# %% notebook
cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
notebook["cells"] += [{**cell, "source": 'f"' + "{1}" * 33_000 + '"'} for _ in range(40)]
