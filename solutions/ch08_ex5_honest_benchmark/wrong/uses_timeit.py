# mistake: leaves the loop to timeit, with the host's clock: it sees launches, and waits for a full queue
# killed_by: runs-are-asynchronous

# %% nbgrader={"grade_id": "benchmark"}
import timeit


def benchmark(fn, device, seconds=0.5):
    """Python's benchmark with the device's host clock."""
    warm_up(fn, device)
    times = timeit.Timer(fn, timer=device.clock).repeat(repeat=60, number=1)
    device.synchronize()
    return summary(times)
