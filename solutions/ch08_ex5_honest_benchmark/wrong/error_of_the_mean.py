# mistake: gives the standard error of the mean as the spread, which shrinks with the number of runs
# killed_by: the-spread-is-that-of-runs

# %% nbgrader={"grade_id": "summary"}
def summary(times):
    """The mean of calm runs, and its error."""
    middle = statistics.median(times)
    calm = [seconds for seconds in times if seconds < 2 * middle]
    mean, error = statistics.fmean(calm), statistics.stdev(calm) / len(calm) ** 0.5
    return {"seconds": mean, "low": mean - error, "high": mean + error, "runs": len(calm)}
