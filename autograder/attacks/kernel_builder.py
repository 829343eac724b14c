# goal: call the private parts of the language from a kernel
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: only names can be assigned to
# shapes: kernel
# changes: triton

# %% notebook
import ast


def change(kernel):
    constant = next(each.arg for each in kernel.args.args if each.annotation is not None)
    hidden = ast.parse(f"if {constant} == 0:\n    pass").body[0]
    hidden.body = ast.parse("tl.core._semantic.builder.grid_dim = 0").body
    kernel.body.insert(0, hidden)


edit_kernels(change)
