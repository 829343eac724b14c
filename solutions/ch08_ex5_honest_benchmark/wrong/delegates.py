# mistake: hands the work to triton's do_bench, which knows a real GPU only
# killed_by: runs-are-asynchronous

# %% nbgrader={"grade_id": "benchmark"}
def benchmark(fn, device, seconds=0.5):
    """Triton's benchmark behind the same call."""
    import triton.testing

    low, middle, high = triton.testing.do_bench(fn, quantiles=[0.25, 0.5, 0.75])
    return {"seconds": middle / 1e3, "low": low / 1e3, "high": high / 1e3, "runs": 100}
