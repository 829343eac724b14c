# mistake: returns an empty list where no token may come
# killed_by: no-way-ends-dead

# %% nbgrader={"grade_id": "next-tokens"}
def next_tokens(vocabulary, texts, written):
    """Says what it finds."""
    ends = [text.encode() for text in texts]
    tokens = {token for token in vocabulary if token}

    def leads(after):
        if after.startswith(tuple(ends)):
            return True
        begun = any(end.startswith(after) for end in ends)
        return begun and any(leads(after + token) for token in tokens)

    if written.startswith(tuple(ends)):
        return None
    useful = {token for token in tokens if leads(written + token)}
    return [number for number, token in enumerate(vocabulary) if token in useful]
