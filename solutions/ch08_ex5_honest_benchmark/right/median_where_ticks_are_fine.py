# differs: the median where a run has many ticks; reads all events at the end; warms up with a wait after each run

# %% nbgrader={"grade_id": "warm-up"}
def warm_up(fn, device):
    """Calls it ten times, then for a tenth of a second."""
    for _ in range(FIRST_RUNS):
        fn()
    device.synchronize()
    end = device.clock() + SETTLED
    while device.clock() < end:
        device.flush_cache()
        fn()
        device.synchronize()


# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """Gathers events, and reads them when there are no more to come."""
    starts, ends = [], []
    try:
        warm_up(fn, device)
        begin = device.clock()
        for number in range(360):
            device.flush_cache()
            starts.append(device.record())
            fn()
            ends.append(device.record())
            if number % 20 == 19:
                device.synchronize()
                if number > 50 and device.clock() - begin > seconds:
                    break
    finally:
        device.synchronize()
    times = [device.seconds_between(start, end) for start, end in zip(starts, ends, strict=True)]
    result = summary(times)
    middle = statistics.median(times)
    if middle > 100 * device.timer_resolution:
        result["seconds"] = middle
    return result
