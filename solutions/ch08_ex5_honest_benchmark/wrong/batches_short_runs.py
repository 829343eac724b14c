# mistake: times short runs in batches, within which all but the first find their data in the cache
# killed_by: short-runs-are-found

# %% nbgrader={"grade_id": "sample"}
def sample(fn, device, runs, batch=1):
    """Times runs, or batches of them where one has too few ticks."""
    events = []
    for _ in range(runs):
        device.flush_cache()
        start = device.record()
        for _ in range(batch):
            fn()
        events.append((start, device.record()))
    device.synchronize()
    times = [device.seconds_between(start, end) / batch for start, end in events]
    if batch == 1 and statistics.median(times) < 20 * device.timer_resolution:
        return sample(fn, device, runs, batch=20)
    return times
