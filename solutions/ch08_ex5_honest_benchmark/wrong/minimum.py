# mistake: the shortest run, since everything else is taken for noise
# killed_by: interruptions-do-not-count

# %% nbgrader={"grade_id": "summary"}
def summary(times):
    """The minimum, and the quartiles."""
    low, _, high = statistics.quantiles(times, n=4)
    return {"seconds": min(times), "low": low, "high": high, "runs": len(times)}
