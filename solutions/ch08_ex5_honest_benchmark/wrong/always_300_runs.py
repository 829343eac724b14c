# mistake: measures 300 runs, however long these take
# killed_by: time-is-bounded

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """A fixed number of runs."""
    try:
        warm_up(fn, device)
        return summary(sample(fn, device, 300))
    finally:
        device.synchronize()
