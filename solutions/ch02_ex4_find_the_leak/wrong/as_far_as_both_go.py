# mistake: looks no further than the shorter one goes
# killed_by: ends-are-breaks-too

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """Compares byte by byte."""
    for byte, (one, other) in enumerate(zip(encode(before), encode(after), strict=False)):
        if one != other:
            ends = accumulate(len(encode([message])) for message in before)
            return byte, sum(end <= byte for end in ends)
    return None
