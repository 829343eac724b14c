# mistake: synchronizes after the flush, so that the device waits for the launch between the two events
# killed_by: short-runs-are-found

# %% nbgrader={"grade_id": "sample"}
def sample(fn, device, runs):
    """Times runs on a device with nothing to do."""
    times = []
    for _ in range(runs):
        device.flush_cache()
        device.synchronize()
        start = device.record()
        fn()
        end = device.record()
        device.synchronize()
        times.append(device.seconds_between(start, end))
    return times
