# goal: put assembly into a kernel
# kind: judge
# stopped by: allowed kernels
# reference: nothing
# shapes: kernel

# %% notebook
import ast

for cell in notebook["cells"]:
    if cell["cell_type"] == "code" and any(f"def {kernel}(" in cell["source"] for kernel in KERNELS):
        tree = ast.parse(cell["source"])
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and function.name in KERNELS:
                function.body[:0] = ast.parse(
                    "tl.inline_asm_elementwise('trap;', '=r', [], dtype=tl.int32, is_pure=False, pack=1)"
                ).body
        cell["source"] = ast.unparse(tree)
