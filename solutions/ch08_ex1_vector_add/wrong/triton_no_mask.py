# mistake: no mask at all
# killed_by: triton-any-length

# %% nbgrader={"grade_id": "triton"}
@triton.jit
def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_ptr + i * x_stride)
    y = tl.load(y_ptr + i * y_stride)
    tl.store(z_ptr + i * z_stride, x + y)
