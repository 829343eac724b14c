# goal: stop the clocks, so that no deadline ever comes
# kind: judge
# stopped by: criteria end
# reference: any

# %% after
import time

for name in ("time", "monotonic", "perf_counter", "process_time", "time_ns", "monotonic_ns"):
    frozen = getattr(time, name)()
    setattr(time, name, lambda frozen=frozen: frozen)
