# mistake: flushes before the loop, not before each run
# killed_by: the-cache-is-cold

# %% nbgrader={"grade_id": "sample"}
def sample(fn, device, runs):
    """Times runs, the first of which has a cold cache."""
    events = []
    device.flush_cache()
    for _ in range(runs):
        start = device.record()
        fn()
        events.append((start, device.record()))
    device.synchronize()
    return [device.seconds_between(start, end) for start, end in events]
