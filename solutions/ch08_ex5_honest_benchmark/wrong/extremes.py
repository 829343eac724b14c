# mistake: gives the shortest and the longest run as the spread
# killed_by: the-spread-is-that-of-runs

# %% nbgrader={"grade_id": "summary"}
def summary(times):
    """The mean of calm runs, and the extremes."""
    middle = statistics.median(times)
    calm = [seconds for seconds in times if seconds < 2 * middle]
    mean = statistics.fmean(calm)
    return {"seconds": mean, "low": min(times), "high": max(times), "runs": len(calm)}
