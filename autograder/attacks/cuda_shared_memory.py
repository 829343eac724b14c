# goal: take gigabytes as a block's shared memory
# kind: judge
# stopped by: clean kernel worker
# reference: nothing
# says: too much shared data
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(
    into_kernels("__shared__ volatile char much[1 << 30]; much[threadIdx.x] = n; if (much[threadIdx.x] == 77) return;")
)
