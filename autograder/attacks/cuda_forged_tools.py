# goal: have compilers and launches of the student's process say what is right
# kind: judge
# stopped by: clean kernel worker
# reference: keeps
# shapes: kernel

# %% after
import workbook.gpu.compiling
import workbook.gpu.cuda_build
import workbook.gpu.cuda_launch
import workbook.gpu.cuda_nvrtc

forged = {"cubin": b"\x7fELF" + bytes(1000), "ptx": "// 128 bits", "program": b"", "variables": ""}
workbook.gpu.cuda_nvrtc.build = workbook.gpu.cuda_build.build = lambda question: forged
workbook.gpu.compiling.compiled = lambda *_, **__: forged
workbook.gpu.cuda_launch.run = lambda *_, **__: None
