# mistake: takes the workbook's own diagnosis
# killed_by: the-byte-is-found

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """The workbook's break, in the form of the contract."""
    import workbook.context.diagnosis

    found = workbook.context.diagnosis.diagnose(encode(before), encode(after))
    return None if found is None else (found.offset, found.message)
