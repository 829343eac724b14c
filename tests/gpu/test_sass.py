"""Reading machine code: NVIDIA's tools, their text, and what it says of the source."""

import stat
from pathlib import Path

import pytest

from tests.gpu import samples
from workbook.gpu import sass
from workbook.gpu.code import NotRunError
from workbook.gpu.sass import Instruction, Kernel, kernels


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_both_compilers_code_is_read(arch: int) -> None:
    found = kernels(samples.add(arch).cubin)
    assert list(found) == ["vector_add"]
    assert found["vector_add"].target == {80: "sm_80", 90: "sm_90a", 100: "sm_100a"}[arch]
    assert found["vector_add"].arch == arch
    several = kernels(samples.cuda("add", arch).cubin)
    assert set(samples.cuda_names()) < set(several)
    assert {kernel.target for kernel in several.values()} == {f"sm_{arch}"}
    for kernel in (*found.values(), *several.values()):
        assert [each.address for each in kernel.instructions] == [16 * n for n in range(len(kernel.instructions))]
        assert kernel.instructions[-1].name in ("EXIT", "RET", "BRA", "BPT")


@pytest.mark.parametrize(
    ("opcode", "bits"),
    [
        ("LDG.E", 32),
        ("LDG.E.128.CONSTANT", 128),
        ("LDG.E.LTC128B.64", 64),
        ("LDG.E.U8", 8),
        ("STS.U16", 16),
        ("LDSM.16.M88.4", 128),
        ("LDSM.16.MT88.2", 64),
        ("LDSM.16.M88", 32),
        ("LDGSTS.E.BYPASS.128", 128),
    ],
)
def test_widths(opcode: str, bits: int) -> None:
    assert Instruction(0, "", opcode, "R0, [R2]").bits == bits


def test_a_load_that_is_never_executed_is_known() -> None:
    assert not Instruction(0, "@!PT", "LDS", "RZ, [RZ]").executes
    assert Instruction(0, "@!P0", "LDG.E", "R0, [R2]").executes


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_triton_counts_masked_loads_some_lines_too_low_which_the_ptx_puts_right(arch: int) -> None:
    """Without the PTX they come out at lines after the kernel's end. This fails once Triton or LLVM does it right."""
    code = samples.add(arch)
    lines = code.source.splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "tl.store(out + offsets" in text)

    def lines_of_loads(ptx: str) -> set[int | None]:
        kernel = kernels(code.cubin, ptx)["vector_add"]
        places = [kernel.place(each) for each in kernel.instructions if each.name in ("LDG", "STG")]
        return {place.line if place else None for place in places}

    assert lines_of_loads(code.ptx) == {line}
    assert lines_of_loads("") > {line}


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_instructions_know_their_lines_of_ptx(arch: int) -> None:
    for code in (samples.add(arch), samples.cuda("add4", arch)):
        name = code.name
        lines = code.ptx.splitlines()
        loads = [each for each in kernels(code.cubin, code.ptx)[name].instructions if each.name in ("LDG", "STG")]
        assert loads
        for each in loads:
            assert each.ptx is not None
            assert ("ld.global" if each.name == "LDG" else "st.global") in lines[each.ptx - 1]


def test_what_was_inlined_counts_as_the_kernels_line() -> None:
    """`tl.max` is a function of Triton's library; it is called in line 14 or so of the kernel."""
    code = samples.flash(90)
    kernel = kernels(code.cubin, code.ptx)["attention"]
    inlined = [each for each in kernel.instructions if len(each.places) > 1]
    assert inlined
    assert {each.places[0].file for each in inlined} != {kernel.file}
    text = {code.source.splitlines()[place.line - 1].strip() for each in inlined if (place := kernel.place(each))}
    assert "higher = tl.maximum(most, tl.max(scores, 1))" in text


def test_what_is_no_cubin_is_refused() -> None:
    with pytest.raises(ValueError, match="nvdisasm cannot read this"):
        kernels(b"no ELF file")
    with pytest.raises(ValueError, match="nvdisasm cannot read this"):
        kernels(samples.add(80).cubin[:500])


def test_without_tritons_tools_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sass.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(NotRunError, match="not run: nvdisasm is missing, which comes with Triton for Linux"):
        kernels(b"another")


def test_a_tool_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvdisasm"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sass, "find", lambda _: tool)
    monkeypatch.setattr(sass, "SECONDS", 0.2)
    with pytest.raises(NotRunError, match=r"not run: nvdisasm took more than 0\.2 s"):
        kernels(b"hangs")


def test_a_kernel_without_lines_has_no_file() -> None:
    kernel = Kernel("k", "sm_80", (Instruction(0, "", "EXIT", ""),), {})
    assert kernel.file is None
    assert kernel.place(kernel.instructions[0]) is None
