# goal: have another decorator replace the kernel
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: a kernel has @triton.jit alone
# shapes: kernel
# changes: triton

# %% notebook
import ast


def change(kernel):
    kernel.decorator_list.insert(0, ast.parse("(lambda kernel: print)").body[0].value)


edit_kernels(change)
