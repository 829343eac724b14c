# mistake: looks one token ahead, and not to the end
# killed_by: no-way-ends-dead

# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """What fits, twice."""
    ends = [text.encode() for text in texts]
    tokens = {token for token in vocabulary if token}

    def leads(after):
        if after.startswith(tuple(ends)):
            return True
        begun = any(end.startswith(after) for end in ends)
        return begun and any(fits(after + token) for token in tokens)

    def fits(after):
        return after.startswith(tuple(ends)) or any(end.startswith(after) for end in ends)

    if written.startswith(tuple(ends)):
        return None
    useful = {token for token in tokens if leads(written + token)}
    if not useful:
        raise MaskError(f"no token leads on from {written!r}")
    return [number for number, token in enumerate(vocabulary) if token in useful]
