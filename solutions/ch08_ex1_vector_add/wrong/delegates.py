# mistake: torch does the work, the kernel nothing
# killed_by: triton-any-length

# %% nbgrader={"grade_id": "triton"}
@triton.jit
def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr):
    pass


# %% nbgrader={"grade_id": "host"}
def vector_add(x, y):
    return x + y
