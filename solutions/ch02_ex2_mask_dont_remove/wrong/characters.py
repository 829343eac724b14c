# mistake: compares characters, and so knows no token that is part of one
# killed_by: tokens-spell-the-names

# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """In text."""
    written = written.decode(errors="ignore")
    tokens = [token.decode(errors="ignore") if token else "" for token in vocabulary]

    def leads(after):
        if after.startswith(tuple(texts)):
            return True
        begun = any(text.startswith(after) for text in texts)
        return begun and any(leads(after + token) for token in tokens if token)

    if written.startswith(tuple(texts)):
        return None
    useful = [number for number, token in enumerate(tokens) if token and leads(written + token)]
    if not useful:
        raise MaskError("no token leads on")
    return useful
