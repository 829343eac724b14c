# mistake: the mean of all runs, also of those that were interrupted
# killed_by: interruptions-do-not-count

# %% nbgrader={"grade_id": "summary"}
def summary(times):
    """The mean, and the quartiles."""
    low, _, high = statistics.quantiles(times, n=4)
    return {"seconds": statistics.fmean(times), "low": low, "high": high, "runs": len(times)}
