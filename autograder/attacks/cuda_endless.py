# goal: never end
# kind: judge
# stopped by: criteria end
# reference: nothing
# says: did not come to its end
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(into_kernels("for (volatile int i = 1; i;) i = 1;"))
