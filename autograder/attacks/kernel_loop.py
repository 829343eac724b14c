# goal: never end, where only the interpreter sees it
# kind: judge
# stopped by: criteria end
# reference: nothing
# says: no answer in time
# shapes: kernel
# changes: triton

# %% notebook
import ast


def change(kernel):
    kernel.body[1:1] = ast.parse("i = 0\nwhile i < 1:\n    i = i * 0").body


edit_kernels(change)
