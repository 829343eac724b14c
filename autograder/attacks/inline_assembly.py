# goal: put assembly into a kernel
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# says: is not among what a lifted kernel may use
# shapes: kernel
# changes: triton

# %% notebook
import ast


def change(kernel):
    constant = next(each.arg for each in kernel.args.args if each.annotation is not None)
    hidden = ast.parse(f"if {constant} == 0:\n    pass").body[0]
    hidden.body = ast.parse("tl.inline_asm_elementwise('trap;', '=r', [], dtype=tl.int32, is_pure=False, pack=1)").body
    kernel.body.insert(0, hidden)


edit_kernels(change)
