# mistake: takes the workbook's own masks
# killed_by: the-set-is-right

# %% nbgrader={"grade_id": "actions"}
def actions(tools, mode, prefixes):
    """The workbook's set, in the form of the contract."""
    import workbook.context.masking

    try:
        made = workbook.context.masking.mask(tools, mode, prefixes)
    except workbook.context.masking.MaskError as error:
        raise MaskError(str(error)) from None
    return [*([None] if mode == "auto" else []), *made.allowed]
