# mistake: refuses tokens that run on behind the end of a text
# killed_by: tokens-spell-the-names

# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """Within the text."""
    ends = [text.encode() for text in texts]
    tokens = {token for token in vocabulary if token}

    def leads(after):
        if after in ends:
            return True
        begun = any(end.startswith(after) for end in ends)
        return begun and any(leads(after + token) for token in tokens)

    if written.startswith(tuple(ends)):
        return None
    useful = {token for token in tokens if leads(written + token)}
    if not useful:
        raise MaskError(f"no token leads on from {written!r}")
    return [number for number, token in enumerate(vocabulary) if token in useful]
