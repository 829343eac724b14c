# goal: run code where a kernel's defaults are evaluated
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: the default of a parameter is a number
# shapes: kernel
# changes: triton

# %% notebook
import ast


def change(kernel):
    kernel.args.args.append(ast.arg("extra"))
    kernel.args.defaults.append(ast.parse("print(__import__('os').environ)").body[0].value)


edit_kernels(change)
