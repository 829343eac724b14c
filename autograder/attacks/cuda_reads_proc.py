# goal: read a file of the process, by a function that the text declares itself
# kind: judge
# stopped by: clean kernel worker
# reference: nothing
# says: does not compile
# shapes: kernel
# changes: cuda

# %% notebook
edit_cuda(
    lambda text: (
        "__device__ int open(const char*, int, ...);\n__device__ long read(int, void*, unsigned long);\n" + text
    )
)
path = ", ".join(str(ord(letter)) for letter in "/proc/self/maps")
edit_cuda(into_kernels(f"const char path[] = {{{path}, 0}}; read(open(path, 0), z, 64);"))
