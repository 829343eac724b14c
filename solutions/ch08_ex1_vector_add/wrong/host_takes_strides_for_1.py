# mistake: passes 1 for all strides
# killed_by: host-starts-it

# %% nbgrader={"grade_id": "host"}
def vector_add(x, y):
    n = len(x)
    z = torch.empty(n, dtype=x.dtype, device=x.device)
    add[(triton.cdiv(n, 1024),)](x, y, z, n, 1, 1, 1, block=1024)
    return z
