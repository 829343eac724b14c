# mistake: takes what was measured before an error for the result
# killed_by: errors-are-passed-on

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """Gives a result, whatever happens."""
    times = []
    try:
        warm_up(fn, device)
        deadline = device.clock() + seconds
        while len(times) < 60 or (len(times) < 300 and device.clock() < deadline):
            times += sample(fn, device, 10)
    except Exception:
        device.synchronize()
    return (
        summary(times) if len(times) > 1 else {"seconds": 0.0, "low": 0.0, "high": 0.0, "runs": 0}
    )
