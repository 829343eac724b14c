# mistake: loads x once for each half of what it does
# killed_by: triton-moves-3n-words

# %% nbgrader={"grade_id": "triton"}
@triton.jit
def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    mask = i < n
    x = tl.load(x_ptr + i * x_stride, mask=mask)
    y = tl.load(y_ptr + i * y_stride, mask=mask)
    tl.store(
        z_ptr + i * z_stride,
        tl.where(x == x, tl.load(x_ptr + i * x_stride, mask=mask), x) + y,
        mask=mask,
    )
