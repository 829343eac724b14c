"""Kernels as people write them: what may be lifted must have room for them."""

ADD = """
@triton.jit
def add(x_ptr, y_ptr, out_ptr, n: int, BLOCK: tl.constexpr) -> None:
    \"\"\"Adds.

    def add(x_ptr): is no definition.
    \"\"\"
    pid = tl.program_id(axis=0)
    offsets = pid * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)
"""

SOFTMAX = """
@triton.jit
def softmax(out_ptr, in_ptr, row_stride, n_rows, n_cols, BLOCK: tl.constexpr, STAGES: tl.constexpr = 2):
    first = tl.program_id(0)
    for row in tl.range(first, n_rows, tl.num_programs(0), num_stages=STAGES):
        columns = tl.arange(0, BLOCK)
        mask = columns < n_cols
        x = tl.load(in_ptr + row * row_stride + columns, mask=mask, other=-float("inf"))
        top = tl.exp(x - tl.max(x, axis=0))
        tl.store(out_ptr + row * row_stride + columns, top / tl.sum(top, axis=0), mask=mask)
"""

MATMUL = """
@triton.jit
def leaky(x, SLOPE: tl.constexpr):
    return tl.where(x >= 0, x, SLOPE * x)


@triton.jit
def matmul(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_ak, stride_bk, stride_bn, stride_cm, stride_cn,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, LEAKY: tl.constexpr,
):
    pid = tl.program_id(0)
    num_m, num_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    in_group = GROUP * num_n
    first_m = pid // in_group * GROUP
    size_m = min(num_m - first_m, GROUP)
    pid_m = first_m + (pid % in_group) % size_m
    pid_n = (pid % in_group) // size_m
    offs_m = (pid_m * BLOCK_M + tl.arange(0, BLOCK_M)) % M
    offs_n = (pid_n * BLOCK_N + tl.arange(0, BLOCK_N)) % N
    offs_k = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (offs_m[:, None] * stride_am + offs_k[None, :] * stride_ak)
    b_ptrs = b_ptr + (offs_k[:, None] * stride_bk + offs_n[None, :] * stride_bn)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BLOCK_K)):
        left = K - k * BLOCK_K
        a = tl.load(a_ptrs, mask=offs_k[None, :] < left, other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < left, other=0.0)
        acc = tl.dot(a, b, acc, input_precision="ieee")
        a_ptrs += BLOCK_K * stride_ak
        b_ptrs += BLOCK_K * stride_bk
    if LEAKY:
        acc = leaky(acc, 0.01)
    rows = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    c_ptrs = c_ptr + stride_cm * rows[:, None] + stride_cn * columns[None, :]
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c_ptrs, acc.to(c_ptr.dtype.element_ty), mask=mask)
"""

ATTENTION = """
LOG2E = tl.constexpr(1.4426950408889634)
MINUS = tl.constexpr(float("-inf"))


@triton.jit
def _inner(acc, l_i, m_i, q, k_ptr, v_ptr, start_m, N, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    rows = start_m * BM + tl.arange(0, BM)
    dims = tl.arange(0, D)
    for start in tl.range(0, (start_m + 1) * BM, BN):
        columns = start + tl.arange(0, BN)
        inside = columns[:, None] < N
        k = tl.load(k_ptr + columns[:, None] * D + dims[None, :], mask=inside, other=0.0)
        s = tl.dot(q, tl.trans(k), input_precision="ieee")
        s = tl.where((columns[None, :] <= rows[:, None]) & (columns[None, :] < N), s, MINUS)
        m_new = tl.maximum(m_i, tl.max(s, 1))
        alpha = tl.math.exp2(m_i - m_new)
        p = tl.math.exp2(s - m_new[:, None])
        l_i = l_i * alpha + tl.sum(p, 1)
        v = tl.load(v_ptr + columns[:, None] * D + dims[None, :], mask=inside, other=0.0)
        acc = acc * alpha[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        m_i = m_new
    return acc, l_i, m_i


@triton.jit
def attention(q_ptr, k_ptr, v_ptr, o_ptr, N, scale, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    tl.static_assert(BM % BN == 0, "whole blocks")
    start_m = tl.program_id(0)
    rows, dims = start_m * BM + tl.arange(0, BM), tl.arange(0, D)
    offsets = rows[:, None] * D + dims[None, :]
    q = tl.load(q_ptr + offsets, mask=rows[:, None] < N, other=0.0) * (scale * LOG2E)
    m_i = tl.full((BM,), MINUS, dtype=tl.float32)
    l_i = tl.zeros((BM,), dtype=tl.float32)
    acc = tl.zeros((BM, D), dtype=tl.float32)
    acc, l_i, m_i = _inner(acc, l_i, m_i, q, k_ptr, v_ptr, start_m, N, D, BM, BN)
    tl.store(o_ptr + offsets, acc / l_i[:, None], mask=rows[:, None] < N)
"""

LAYERNORM = """
@triton.jit
def layernorm(x_ptr, w_ptr, b_ptr, out_ptr, n, eps, BLOCK: tl.constexpr, HAS_BIAS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * n
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.load(x_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / n
    square = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.where(i < n, tl.load(x_ptr + i, mask=i < n, other=0.0).to(tl.float32) - mean, 0.0)
        square += x * x
    rstd = 1 / tl.sqrt(tl.sum(square, axis=0) / n + eps)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        mask = i < n
        y = (tl.load(x_ptr + i, mask=mask) - mean) * rstd * tl.load(w_ptr + i, mask=mask)
        if HAS_BIAS:
            y += tl.load(b_ptr + i, mask=mask, eviction_policy="evict_last")
        tl.store(out_ptr + row * n + i, y, mask=mask)
"""

HISTOGRAM = """
@triton.jit
def histogram(x_ptr, counts_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    while tl.min(i, axis=0) < n:
        x = tl.load(x_ptr + i, mask=i < n, other=0)
        tl.atomic_add(counts_ptr + x, 1, mask=i < n, sem="relaxed")
        i += BLOCK * tl.num_programs(0)
"""

SCAN = """
@triton.jit
def combine(a, b):
    return a + b


@triton.jit
def scan(x_ptr, out_ptr, total_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=0)
    tl.store(out_ptr + i, tl.associative_scan(x, 0, combine), mask=i < n)
    tl.store(total_ptr, tl.reduce(x, axis=0, combine_fn=combine))
"""

KERNELS = {
    "add": ADD,
    "softmax": SOFTMAX,
    "matmul": MATMUL,
    "attention": ATTENTION,
    "layernorm": LAYERNORM,
    "histogram": HISTOGRAM,
    "scan": SCAN,
}
