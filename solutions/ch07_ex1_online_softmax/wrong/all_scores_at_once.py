# mistake: computes all scores, then cuts them into blocks
# killed_by: memory-is-linear

# %% nbgrader={"grade_id": "attend"}
def attend(q, k, v, block=512):
    """Blocks in form only."""
    scores = q.float() @ k.float().T / math.sqrt(q.shape[1])
    state = init(len(q), v.shape[1])
    for start in range(0, len(k), block):
        some = slice(start, start + block)
        state = update(state, scores[:, some], v[some])
    return state
