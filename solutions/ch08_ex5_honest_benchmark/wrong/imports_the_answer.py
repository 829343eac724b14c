# mistake: hands the work to the workbook's own benchmark
# killed_by: runs-are-asynchronous

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """The workbook's comparison, of the function with itself."""
    import workbook.bench

    times = workbook.bench.compare({"one": fn, "other": fn}, pairs=50).seconds["one"]
    return summary(list(times))
