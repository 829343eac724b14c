# mistake: lets tokens come that say nothing
# killed_by: tokens-spell-the-names

# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """Whatever is not special."""
    ends = [text.encode() for text in texts]
    tokens = {token for token in vocabulary if token is not None}

    def leads(after):
        if after.startswith(tuple(ends)):
            return True
        begun = any(end.startswith(after) for end in ends)
        return begun and any(leads(after + token) for token in tokens if token)

    if written.startswith(tuple(ends)):
        return None
    useful = {token for token in tokens if leads(written + token)}
    if not useful:
        raise MaskError(f"no token leads on from {written!r}")
    return [number for number, token in enumerate(vocabulary) if token in useful]
