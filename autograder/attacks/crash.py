# goal: crash the interpreter before the checks
# kind: harness
# stopped by: judged from outside
# reference: nothing
# says: SIGSEGV

# %% after
import ctypes

ctypes.string_at(0)
