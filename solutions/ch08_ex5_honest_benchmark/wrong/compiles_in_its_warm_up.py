# mistake: starts the clock of the warm-up before the first call, which compiles for longer than that
# killed_by: the-clock-is-steady

# %% nbgrader={"grade_id": "warm-up"}
def warm_up(fn, device):
    """Runs until the time is over."""
    start, runs = device.clock(), 0
    while runs < FIRST_RUNS or device.clock() - start < SETTLED:
        device.flush_cache()
        fn()
        device.synchronize()
        runs += 1


# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """A hundred runs."""
    warm_up(fn, device)
    return summary(sample(fn, device, 100))
