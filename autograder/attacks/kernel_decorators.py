# goal: have another decorator replace the kernel
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
                function.decorator_list.insert(0, ast.parse("(lambda kernel: print)").body[0].value)
        cell["source"] = ast.unparse(tree)
