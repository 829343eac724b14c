# mistake: no warm-up; the mean of all runs, the slow first ones among them
# killed_by: first-runs-do-not-count

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """Measures at once."""
    times = sample(fn, device, 60)
    low, _, high = statistics.quantiles(times, n=4)
    return {"seconds": statistics.fmean(times), "low": low, "high": high, "runs": len(times)}
