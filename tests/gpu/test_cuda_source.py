"""What the text of a CUDA kernel may hold, and what is read in it."""

import pytest

from tests.gpu.cuda_samples import ADD, nvrtc, on_cpu  # noqa: F401 - fixtures
from workbook.gpu import cuda_build, cuda_nvrtc, cuda_source
from workbook.gpu.code import CompileError


def text(body: str, head: str = "") -> str:
    return f"{head}\n__global__ void k(int* z, int n) {{\n{body}\n}}\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("#define N 3", "line 3: no lines for the preprocessor"),
        ("z[0] = 1; #pragma unroll", "line 3: no lines"),
        ("%:define N 3", "another way to write"),
        ("z<:0:> = 1;", "another way to write"),
        ("// what??/\nz[0] = 1;", "trigraph"),
        ("z[0] = 1; \\\nz[1] = 2;", "line 3: a backslash"),
        ("\\u0061sm(0);", "backslash"),
        ('_Pragma("unroll")', "_Pragma"),
        ('asm("nop");', "assembly"),
        ('__asm__("nop");', "__asm__"),
        ("__attribute__((noinline)) int f();", "__attribute__"),
        ("[[gnu::noinline]] int f();", "attributes"),
        ("z[0] = __builtin_popcount(n);", "__builtin_popcount"),
        ('const char* s = "x";', "texts have no use"),
        ('extern "C" int system(const char*);', "texts have no use"),
        ("z[0] = R'(x)';", "a character has one letter"),
        ("z[0] = cuda_given[0];", "this name is taken"),
        ("CUDA_MATH1(x)", "this name is taken"),
        ("goto end;", "jumps"),
        ("int* p = new int;", "heap"),
        ("int é = 3;", "no meaning"),
        ("/* no end", "without an end"),
        ("x" * 200_000, "may have 100000"),
    ],
)
def test_what_a_kernel_may_not_hold_is_refused_with_its_line(body: str, says: str) -> None:
    with pytest.raises(CompileError, match=says):
        cuda_source.check(text(body))


@pytest.mark.parametrize(
    "body",
    [
        "  #pragma unroll 4\nfor (int i = 0; i < 4; i++) z[i] = 1'000 + 0x1p3f;",
        "// 中文 — \\ # asm __builtin_trap\nz[0] = '\\n';",
        "/* # */ z[0] = n % 3 ? -1 : 1e-3;",
        "z[0] = n < 3 && z[1] > 2 ? (n << 2) : 5;",
    ],
)
def test_what_a_kernel_may_hold_is_let_pass(body: str) -> None:
    assert cuda_source.check(text(body))


@pytest.mark.usefixtures("on_cpu", "nvrtc")
def test_every_known_name_has_a_meaning_for_both_compilers() -> None:
    headers = "".join(file.read_text() for file in cuda_build._INCLUDE.glob("cuda_*.h"))
    for name in cuda_source.INTRINSICS:
        assert name in headers or name == "__restrict__", name
    uses = """
      int t = threadIdx.x; float v = z[t]; unsigned m = 0xffffffffu;
      v += __expf(v) + __logf(v) + __fdividef(v, 2.0f) + __frcp_rn(v) + __saturatef(v) + rsqrtf(v) + fmaxf(v, 1.0f);
      v += __shfl_sync(m, v, 0) + __shfl_up_sync(m, v, 1) + __shfl_down_sync(m, v, 1, 16) + __int_as_float(3);
      z[t] = (int)v + __popc(t) + __clz(t) + __ffs(t) + __brev(t) + __umulhi(t, t) + __float2int_rn(v) + max(t, 3);
      z[t] += __any_sync(m, t == 0) + __all_sync(m, t < 3) + __ballot_sync(m, t) + __syncthreads_count(t);
      __syncwarp(); __threadfence(); z[t] += __ldg(z + t) + atomicAdd(z, 1) + atomicCAS(z, 1, 2) + atomicMax(z, 3);
      __half h = __float2half(v); z[t] += (int)__half2float(h * h + h);
      __nv_bfloat16 b = __float2bfloat16(v); z[t] += (int)__bfloat162float(b + b);
      float2 f = __half22float2(__floats2half2_rn(v, v)); z[t] += (int)(f.x + f.y + INFINITY);
    """
    source = text(uses)
    cuda_build.build({"source": source, "name": "k"})
    cuda_nvrtc.build({"source": source, "name": "k", "arch": 90, "options": []})


def test_the_parameters_of_a_kernel_are_read() -> None:
    source = (
        "__global__ void __launch_bounds__(256, 2) f(const float4 *__restrict__ x, half* y, unsigned n, size_t s) {}"
    )
    found = cuda_source.kernel(source + ADD, "f").parameters
    assert [(one.name, one.pointer, one.dtype, one.code) for one in found] == [
        ("x", True, "float32", "f"),
        ("y", True, "float16", "e"),
        ("n", False, "int32", "I"),
        ("s", False, "int64", "Q"),
    ]
    assert set(cuda_source.kernels(source + ADD)) == {"f", "add"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("int f() { return 1; }", "no __global__ function"),
        ("template <int N> __global__ void k(int* z) {}", "template"),
        ("__global__ void k(struct S s) {}", "neither a number nor a pointer"),
        ("__global__ void k(float** z) {}", "neither a number nor a pointer"),
        ("__global__ void k(", "not closed"),
    ],
)
def test_what_cannot_be_launched_is_refused(source: str, says: str) -> None:
    with pytest.raises(CompileError, match=says):
        cuda_source.kernel(source, "k")
