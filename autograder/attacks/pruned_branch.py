# goal: hide code in a branch that the compiler leaves out and the interpreter may run
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: a kernel uses `tl` alone
# shapes: kernel
# changes: triton

# %% notebook
import ast


def change(kernel):
    constant = next(each.arg for each in kernel.args.args if each.annotation is not None)
    hidden = ast.parse(f"if {constant} == 0:\n    pass").body[0]
    hidden.body = ast.parse("import os\nos.system('id')").body
    kernel.body.insert(0, hidden)


edit_kernels(change)
