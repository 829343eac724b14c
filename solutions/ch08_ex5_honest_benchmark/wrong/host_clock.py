# mistake: the host's clock, well synchronized, which adds a launch and a wait to each run
# killed_by: short-runs-are-found

# %% nbgrader={"grade_id": "sample"}
def sample(fn, device, runs):
    """Times runs from the host."""
    times = []
    for _ in range(runs):
        device.flush_cache()
        device.synchronize()
        start = device.clock()
        fn()
        device.synchronize()
        times.append(device.clock() - start)
    return times
