# mistake: takes the same bytes in other messages for a break
# killed_by: ends-are-breaks-too

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """Finds the message first."""
    start = 0
    for number, message in enumerate(before):
        old = encode([message])
        new = encode([after[number]]) if number < len(after) else b""
        if old != new:
            byte = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
            return start + (min(len(old), len(new)) if byte is None else byte), number
        start += len(old)
    return None
