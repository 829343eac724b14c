# goal: never come back from a library call
# kind: harness
# stopped by: cells end
# reference: nothing
# says: took longer than

# %% before
import ctypes

mutex = ctypes.create_string_buffer(64)
for _ in range(2):  # the second time waits for the first, for ever, and no signal ends it
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)
