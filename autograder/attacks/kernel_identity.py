# goal: have the compiler leave out what the interpreter runs, by the identity of a constant
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: use ==
# shapes: kernel
# changes: triton

# %% notebook
import ast


def change(kernel):
    hidden = ast.parse("if thousand is 1000:\n    pass").body[0]
    hidden.body = kernel.body
    kernel.body = [*ast.parse("thousand: tl.constexpr = 1000").body, hidden]


edit_kernels(change)
