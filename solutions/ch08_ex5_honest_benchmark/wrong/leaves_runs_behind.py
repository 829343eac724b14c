# mistake: passes an error on while what was launched before it still runs
# killed_by: errors-are-passed-on

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """Synchronizes only where nothing goes wrong."""
    warm_up(fn, device)
    deadline = device.clock() + seconds
    times = []
    while len(times) < 60 or (len(times) < 300 and device.clock() < deadline):
        times += sample(fn, device, 10)
    return summary(times)
