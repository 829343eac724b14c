# mistake: the source's benchmark: no warm-up, and the clock starts while the device is still busy
# killed_by: runs-are-asynchronous

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """One timing around all runs."""
    runs = 100
    start = device.clock()
    for _ in range(runs):
        fn()
    device.synchronize()
    mean = (device.clock() - start) / runs
    return {"seconds": mean, "low": mean, "high": mean, "runs": runs}
