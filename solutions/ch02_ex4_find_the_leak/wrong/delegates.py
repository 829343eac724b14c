# mistake: takes difflib's longest match for what both have at the start
# killed_by: the-byte-is-found

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """The end of the longest match."""
    import difflib

    old, new = encode(before), encode(after)
    match = difflib.SequenceMatcher(None, old, new, autojunk=False).find_longest_match()
    byte = match.a + match.size
    ends = accumulate(len(encode([message])) for message in before)
    return None if byte == len(old) else (byte, sum(end <= byte for end in ends))
