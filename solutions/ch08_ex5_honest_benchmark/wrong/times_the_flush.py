# mistake: one pair of events around the whole loop, with the flushes in it
# killed_by: the-cache-is-cold

# %% nbgrader={"grade_id": "sample"}
def sample(fn, device, runs):
    """Times a loop."""
    start = device.record()
    for _ in range(runs):
        device.flush_cache()
        fn()
    end = device.record()
    device.synchronize()
    return [device.seconds_between(start, end) / runs] * runs
