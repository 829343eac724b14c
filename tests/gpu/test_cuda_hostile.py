"""Kernels that want more than to compute: each must end in a clear error, and none may change what is counted."""

from typing import Any

import pytest
import torch

from tests.gpu.cuda_samples import on_cpu  # noqa: F401 - a fixture
from workbook.gpu.code import CompileError
from workbook.gpu.cuda_assembly import completed
from workbook.gpu.cuda_cpu import CudaFault, Ran, run_on_cpu

pytestmark = pytest.mark.usefixtures("on_cpu")


def run(body: str, head: str = "", **more: Any) -> Ran:
    source = f"{head}\n__global__ void k(int* z, int n) {{ {body} }}"
    return run_on_cpu(source, "k", 1, 4, (torch.zeros(16, dtype=torch.int32), 8), **more)


@pytest.mark.parametrize(
    ("body", "head", "says"),
    [
        ("z[0] = getpid();", "int getpid();", "getpid is called"),
        ("memcpy(z, z + 4, 8);", "void* memcpy(void*, const void*, unsigned long);", "memcpy is called"),
        ("z[0] = ((int (*)())n)();", "", "through a pointer"),
        ("int (*p)(int) = n ? f : g; z[0] = p(3);",
         "__device__ int f(int a) { return a; } __device__ int g(int a) { return -a; }", "through a pointer"),
        ("z[0] = f(n);", "__device__ int f(int a) { return a < 2 ? 1 : f(a - 1) + f(a - 2); }", "calls itself"),
        ("auto f = [&](auto self, int a) -> int { return a < 2 ? 1 : self(self, a - 1) + self(self, a - 2); };"
         "z[0] = f(f, n);", "", "calls itself"),
        ("z[0] = g;", "__device__ int f() { return 3; } int g = f();", "give it a constant"),
        ("int q[100000]; for (int i = 0; i < 100000; i++) q[i] = i * n; z[0] = q[n];", "", "400000 bytes of local"),
        ("int v[n]; v[0] = 1; z[0] = v[n - 1];", "", "variable length array"),
        ("__shared__ char big[20000000000ull]; big[n] = 1; z[0] = big[n];", "", "20000000000 bytes of shared memory"),
        ("z[0] = big[n];", "__device__ char big[1ull << 33];", "64 MiB of variables"),
        ("z[0] = T<5000>::v;", "template <int N> struct T { enum { v = T<N - 1>::v + 1 }; };"
         "template <> struct T<0> { enum { v = 0 }; };", "instantiation depth"),
        ("threadIdx.x = 3;", "", "read-only"),
        ("(void)*new int;", "", "heap"),
    ],
)  # fmt: skip
def test_code_that_leads_out_of_the_kernel_is_not_built(body: str, head: str, says: str) -> None:
    with pytest.raises(CompileError, match=says):
        run(body, head)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("z[1ull << 34] = 1;", "wild"),
        ("z[-1] = 1;", "bounds"),
        ("z[16] = 1;", "bounds"),
        ("*(int*)0 = 1;", "wild"),
        ("*(long long*)0x404000 = 5;", "wild"),
        ("const_cast<unsigned*>(&gridDim.x)[4] = 1;", "wild"),
        ("int a[4]; int* p = a; for (int i = 0; i < 100000; i++) p[i] = 5; z[0] = a[n & 3];", "wild"),
        ("int a[4]; int* p = a; for (int i = 0; i > -100000; i--) p[i] = 5; z[0] = a[n & 3];", "wild"),
        (
            "struct B { int v[1 << 24]; }; int a[4]; a[n & 3] = 1; reinterpret_cast<B&>(a).v[n << 18] = 3; z[0] = *a;",
            "wild",
        ),
        ("int a[4]; for (int i = 0; i < n; i++) a[i] = i; z[0] = a[n / 2];", "index"),
        ("__shared__ int a[4]; a[n] = 1; z[0] = a[0];", "index"),
        ("__shared__ int a[4]; int* p = a; p[n * 1000] = 1;", "wild bounds"),
        ("tab[0] = n; z[0] = tab[n & 3];", "constant"),
        ("z[0] = n / (n - 8);", "division"),
        ("*(int*)((char*)z + 2) = 1;", "alignment"),
        ("for (;;) z[0] += 1;", "time"),
        ("while (true) __syncthreads();", "time"),
    ],
)
def test_a_wild_access_ends_the_kernel_before_it_happens(body: str, kind: str) -> None:
    head = "__constant__ const int table[4] = {1, 2, 3, 4};"
    with pytest.raises(CudaFault) as caught:
        run(body.replace("tab[0]", "const_cast<int*>(table)[n & 3]").replace("tab[", "table["), head, seconds=2)
    assert caught.value.kind in kind.split()


def test_a_stack_that_a_kernel_spoils_leads_nowhere_and_hides_nothing() -> None:
    # All of its own frame, as far as it may be written, and what lies above it up to the end of its stack.
    body = "int a[4]; int* p = a; for (int i = -4; i < 20; i++) p[i] = 7; z[threadIdx.x] = 3; z[threadIdx.x + 4] = *p;"
    try:
        ran = run(body)
    except CudaFault:
        return
    assert ran.counts["z"].written == 32


def test_a_thread_that_changes_where_it_is_changes_it_for_nobody_else() -> None:
    body = "z[threadIdx.x] = blockDim.x + gridDim.x + blockIdx.x; const_cast<unsigned&>(blockDim.x) = 100;"
    body += "const_cast<unsigned&>(gridDim.x) = 100; const_cast<unsigned&>(blockIdx.x) = 100;"
    assert run(body).tensors["z"][:4].tolist() == [5, 5, 5, 5]


def test_a_store_that_nobody_has_announced_is_completed() -> None:
    announced = (
        "cuda_cpu_entry:\n\tcall\t__asan_store4\n\tmovl\t%eax, (%rbx)\n\t.size\tcuda_cpu_entry, .-cuda_cpu_entry\n"
    )
    assert completed(announced, "cuda_cpu_entry").count("cuda_store4") == 0
    twice = announced.replace("(%rbx)\n", "(%rbx)\n\tmovss\t%xmm0, 4(%rbx,%rcx,4)\n")
    assert completed(twice, "cuda_cpu_entry").count("leaq 4(%rbx,%rcx,4), %rdi\n\tcall cuda_store4") == 1


@pytest.mark.parametrize(
    "instruction",
    ["ret", "syscall", "int\t$0x80", "call\t*%rax", "jmp\t*%rax", "jmp\t_Z1fv", "call\tsystem", "movq\t%rax, %rsp"],
)
def test_each_way_out_is_seen_in_the_assembly(instruction: str) -> None:
    assembly = f"cuda_cpu_entry:\n\t{instruction}\n\t.size\tcuda_cpu_entry, .-cuda_cpu_entry\n"
    with pytest.raises(CompileError):
        completed(assembly, "cuda_cpu_entry")
