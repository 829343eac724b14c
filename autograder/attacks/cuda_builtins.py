# goal: reach what the compiler has built in
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: of the names with two underscores
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(into_kernels("if (n < 0) __builtin_trap();"))
