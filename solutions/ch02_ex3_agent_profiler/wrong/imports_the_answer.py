# mistake: takes the workbook's own metrics
# killed_by: hit-rate-is-of-tokens

# %% nbgrader={"grade_id": "usage"}
def usage(events):
    """The workbook's numbers under other names."""
    import workbook.context.metrics

    numbers = workbook.context.metrics.measure(events)
    return {
        "hit_rate": numbers.hit_rate.value,
        "without_usage": numbers.without_usage,
        "lengths": sorted(numbers.lengths.values),
    }
