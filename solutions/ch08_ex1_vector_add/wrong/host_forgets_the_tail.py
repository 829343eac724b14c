# mistake: the last block is not started
# killed_by: host-starts-it

# %% nbgrader={"grade_id": "host"}
def vector_add(x, y):
    n = len(x)
    z = torch.empty(n, dtype=x.dtype, device=x.device)
    add[(n // 1024,)](x, y, z, n, x.stride(0), y.stride(0), z.stride(0), block=1024)
    return z
