# mistake: gives the first byte of the message, not the one that differs
# killed_by: the-byte-is-found

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """Compares whole messages."""
    byte = 0
    for number, one in enumerate(before):
        if after[number : number + 1] != [one]:
            return byte, number
        byte += len(encode([one]))
    return None
