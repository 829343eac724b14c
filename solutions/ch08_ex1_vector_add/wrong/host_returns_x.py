# mistake: adds into x
# killed_by: host-starts-it

# %% nbgrader={"grade_id": "host"}
def vector_add(x, y):
    n = len(x)
    z = x
    add[(triton.cdiv(n, 1024),)](x, y, z, n, x.stride(0), y.stride(0), z.stride(0), block=1024)
    return z
