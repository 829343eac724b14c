# differs: one function; warms up by the device's own clock, plans the number of runs, leaves out by Tukey's fences

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """Everything in one place."""

    def timed(runs):
        pairs = []
        for _ in range(runs):
            device.flush_cache()
            first = device.record()
            fn()
            pairs.append((first, device.record()))
        device.synchronize()
        return pairs, [device.seconds_between(*pair) for pair in pairs]

    try:
        (begin,), _ = timed(1)
        while True:
            pairs, times = timed(20)
            if device.seconds_between(begin[1], pairs[-1][1]) > SETTLED:
                break
        cost = device.seconds_between(pairs[0][0], pairs[-1][1]) / 19
        runs = min(400, max(60, int(0.7 * seconds / cost)))
        _, times = timed(runs)
    finally:
        device.synchronize()
    low, _, high = statistics.quantiles(times, n=4)
    reach = 4 * (high - low) + device.timer_resolution
    kept = sorted(time for time in times if low - reach <= time <= high + reach)
    low, _, high = statistics.quantiles(kept, n=4)
    return {"seconds": sum(kept) / len(kept), "low": low, "high": high, "runs": len(kept)}
