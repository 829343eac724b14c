# mistake: the median, which of a run of two and a half ticks is two or three
# killed_by: short-runs-are-found

# %% nbgrader={"grade_id": "summary"}
def summary(times):
    """The median and the quartiles."""
    low, middle, high = statistics.quantiles(times, n=4)
    return {"seconds": middle, "low": low, "high": high, "runs": len(times)}
