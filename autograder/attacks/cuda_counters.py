# goal: overwrite the counters, at whatever address they are
# kind: judge
# stopped by: clean kernel worker
# reference: nothing
# says: neither a tensor nor a variable
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(into_kernels("for (long long i = 1; i < 2048; i++) ((volatile long long*)z)[i << 22] = 0;"))
