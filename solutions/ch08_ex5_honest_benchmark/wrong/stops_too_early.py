# mistake: takes the clock for steady as soon as two samples in a row agree within 5 %
# killed_by: the-clock-is-steady

# %% nbgrader={"grade_id": "warm-up"}
def warm_up(fn, device):
    """Runs until two samples agree."""
    before, now = 0.0, statistics.median(sample(fn, device, 10))
    while abs(now / before - 1 if before else 1) > 0.05:
        before, now = now, statistics.median(sample(fn, device, 10))


# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """As many runs as make a mean."""
    warm_up(fn, device)
    return summary(sample(fn, device, 60))
