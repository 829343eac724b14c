# mistake: finds the character that differs, and gives its first byte
# killed_by: bytes-are-not-characters

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """The bytes before the first character that differs."""
    old, new = encode(before).decode(), encode(after).decode()
    if new.startswith(old):
        return None
    place = 0
    while place < len(new) and old[place] == new[place]:
        place += 1
    byte = len(old[:place].encode())
    ends = accumulate(len(encode([one])) for one in before)
    return byte, sum(end <= byte for end in ends)
