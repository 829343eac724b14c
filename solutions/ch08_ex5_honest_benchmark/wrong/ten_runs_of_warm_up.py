# mistake: warms up for ten runs, however short these are
# killed_by: the-clock-is-steady

# %% nbgrader={"grade_id": "warm-up"}
def warm_up(fn, device):
    """Ten runs."""
    for _ in range(10):
        fn()
    device.synchronize()


# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """A hundred runs."""
    warm_up(fn, device)
    return summary(sample(fn, device, 100))
