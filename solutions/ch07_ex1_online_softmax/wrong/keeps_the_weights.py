# mistake: goes block by block, and keeps the scores of each until the end
# killed_by: memory-is-linear

# %% nbgrader={"grade_id": "attend"}
def attend(q, k, v, block=512):
    """Two passes."""
    q = q.float() / math.sqrt(q.shape[1])
    starts = range(0, len(k), block)
    blocks = [q @ k[start : start + block].float().T for start in starts]
    state = init(len(q), v.shape[1])
    for start, scores in zip(starts, blocks, strict=True):
        state = update(state, scores, v[start : start + block])
    return state
