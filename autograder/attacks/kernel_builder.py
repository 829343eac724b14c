# goal: call the private parts of the language from a kernel
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
                function.body[:0] = ast.parse("tl.core._semantic.builder.grid_dim = 0").body
        cell["source"] = ast.unparse(tree)
