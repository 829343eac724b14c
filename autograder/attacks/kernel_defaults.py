# goal: run code where a kernel's defaults and annotations are evaluated
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
                function.args.args[-1].annotation = ast.parse("print(__import__('os').environ)").body[0].value
        cell["source"] = ast.unparse(tree)
