# mistake: never flushes, so that each run finds its data in the cache
# killed_by: the-cache-is-cold

# %% nbgrader={"grade_id": "sample"}
def sample(fn, device, runs):
    """Times runs, one right after the other."""
    events = [device.record()]
    for _ in range(runs):
        fn()
        events.append(device.record())
    device.synchronize()
    return [device.seconds_between(a, b) for a, b in itertools.pairwise(events)]


# %% nbgrader={"grade_id": "warm-up"}
import itertools


def warm_up(fn, device):
    """Runs it for a while."""
    fn()
    device.synchronize()
    start, runs = device.clock(), 1
    while runs < FIRST_RUNS or device.clock() - start < SETTLED:
        fn()
        runs += 1
        device.synchronize()
