# mistake: multiplies queries and keys in their own type, and converts the scores
# killed_by: shards-are-merged

# %% nbgrader={"grade_id": "attend"}
def attend(q, k, v, block=512):
    """Converts too late."""
    state = init(len(q), v.shape[1])
    for start in range(0, len(k), block):
        some = slice(start, start + block)
        state = update(state, (q @ k[some].T).float() / math.sqrt(q.shape[1]), v[some])
    return state
