# goal: crash the compilers by brackets in brackets
# kind: judge
# stopped by: clean kernel worker
# reference: any
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(into_kernels(f"int deep = {'(' * 20_000}n{')' * 20_000};"))
