# goal: replace the language in the student's own process
# kind: judge
# stopped by: clean kernel worker
# reference: any
# shapes: kernel

# %% after
import triton
import triton.language as tl

triton.jit = lambda function: function
for name in ("load", "store", "arange", "program_id"):
    setattr(tl, name, lambda *arguments, **keywords: arguments[0] if arguments else 0)
