# goal: give variables names that one compiler takes for macros, so that the text means something else
# kind: judge
# stopped by: clean kernel worker
# reference: any
# shapes: kernel
# changes: cuda

# %% notebook
names = ("linux", "unix", "errno", "stdin", "assert", "NULL", "INT_MAX", "i386", "minor", "max")
edit_cuda(into_kernels(" ".join(f"if (n > 1) {{ const int {name} = n; if ({name} < 2) return; }}" for name in names)))
