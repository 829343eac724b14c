# goal: put assembly into a kernel, where it is never reached
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: a kernel has no assembly here
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(into_kernels('if (n < 0) asm volatile("syscall");'))
