# mistake: takes what a library says of partial matches, which knows no vocabulary and so no dead ends
# killed_by: no-way-ends-dead

# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """Has `regex` match as far as it goes."""
    import regex

    ends = [text.encode() for text in texts]
    if written.startswith(tuple(ends)):
        return None
    pattern = regex.compile(b"(?s)(?:" + b"|".join(map(regex.escape, ends)) + b").*")
    ids = [
        number
        for number, token in enumerate(vocabulary)
        if token and pattern.fullmatch(written + token, partial=True)
    ]
    if not ids:
        raise MaskError("no token leads on")
    return ids
