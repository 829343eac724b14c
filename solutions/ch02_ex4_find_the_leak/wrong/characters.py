# mistake: counts characters
# killed_by: bytes-are-not-characters

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """The first character that differs."""
    old, new = encode(before).decode(), encode(after).decode()
    if new.startswith(old):
        return None
    place = 0
    while place < len(new) and old[place] == new[place]:
        place += 1
    ends = accumulate(len(encode([one]).decode()) for one in before)
    return place, sum(end <= place for end in ends)
