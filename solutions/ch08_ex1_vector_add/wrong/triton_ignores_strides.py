# mistake: takes all strides for 1
# killed_by: triton-views

# %% nbgrader={"grade_id": "triton"}
@triton.jit
def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    mask = i < n
    x = tl.load(x_ptr + i, mask=mask)
    y = tl.load(y_ptr + i, mask=mask)
    tl.store(z_ptr + i, x + y, mask=mask)
