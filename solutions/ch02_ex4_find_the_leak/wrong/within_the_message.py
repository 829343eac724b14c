# mistake: counts from the start of the message
# killed_by: the-byte-is-found

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """The byte of the message."""
    for number, (one, other) in enumerate(zip(before, after, strict=False)):
        old, new = encode([one]), encode([other])
        if old != new:
            byte = 0
            while byte < min(len(old), len(new)) and old[byte] == new[byte]:
                byte += 1
            return byte, number
    return None if len(after) >= len(before) else (0, len(after))
