# mistake: goes over whole blocks only
# killed_by: shards-are-merged

# %% nbgrader={"grade_id": "attend"}
def attend(q, k, v, block=512):
    """Leaves the last keys out where the block does not divide their number."""
    q = q.float() / math.sqrt(q.shape[1])
    state = init(len(q), v.shape[1])
    for number in range(len(k) // block):
        some = slice(number * block, (number + 1) * block)
        state = update(state, q @ k[some].float().T, v[some])
    return state
