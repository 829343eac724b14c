# mistake: reads the host's clock around a call that only launches
# killed_by: runs-are-asynchronous

# %% nbgrader={"grade_id": "sample"}
def sample(fn, device, runs):
    """Times launches."""
    times = []
    for _ in range(runs):
        device.flush_cache()
        device.synchronize()
        start = device.clock()
        fn()
        times.append(device.clock() - start)
    return times
