# mistake: hands attend to torch's fused attention, which gives an output and no state
# killed_by: shards-are-merged

# %% nbgrader={"grade_id": "attend"}
def attend(q, k, v, block=512):
    """The output with a weight of one."""
    q, k, v = (part.float()[None] for part in (q, k, v))
    if not k.shape[1]:
        return init(q.shape[1], v.shape[2])
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)[0]
    return torch.zeros(len(out)), torch.ones(len(out)), out
