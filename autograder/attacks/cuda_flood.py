# goal: have the judge read a megabyte of text for each question about a kernel
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(lambda text: text + "/*" * 500_000)
