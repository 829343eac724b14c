"""`inspect`: what it finds in kernels that are known, what it refuses, and how it is shown."""

import dataclasses
import html
import re

import pytest

from tests.gpu import samples
from workbook.gpu.comparison import compare
from workbook.gpu.inspection import inspect


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_attention(arch: int) -> None:
    found = inspect(samples.flash(arch))
    assert not found.spills
    assert not found.problems
    assert found.threads == 128
    assert found.tensor_generation == {80: "mma", 90: "wgmma", 100: "tcgen05"}[arch]
    assert found.shared == found.dynamic_shared == samples.flash(arch).shared > 0
    assert found.occupancy is not None
    assert 0.1 <= found.occupancy.fraction <= 0.3
    assert found.occupancy.limiters == ("registers",)
    assert found.main_loop is not None
    assert len(found.main_loop.instructions) > 200
    assert set(found.widths["asynchronous copies"]) == {128}


def test_one_warp_falls_back_to_the_tensor_instructions_of_a_warp() -> None:
    assert inspect(samples.flash(90, warps=1)).tensor_generation == "mma"


def test_a_kernel_that_spills_says_so_first() -> None:
    found = inspect(samples.flash(80, 256, 128))
    assert found.registers == 32
    assert found.spills.stores > 3000
    assert found.problems[0].startswith("It spills: 3676 stores and 5154 loads")
    text = str(found)
    assert text.index("! It spills") < text.index("Registers")
    rows = found.facts().rows
    assert rows[0][0] == "Spills"
    assert "are in the main loop" in str(rows[0][2])


def test_a_cubin_alone_is_enough_and_says_what_is_missing() -> None:
    found = inspect(samples.cuda("transpose", 90).cubin, kernel="transpose")
    assert (found.threads, found.occupancy, found.accesses) == (None, None, None)
    assert (found.static_shared, found.max_threads) == (4096, 1024)
    assert "give threads=" in str(found)
    known = inspect(samples.cuda("transpose", 90).cubin, kernel="transpose", threads=(32, 32, 1))
    assert known.threads == 1024
    assert known.problems == ("Bank conflicts: 1 access to shared memory, up to 32 turns each.",)
    line = samples.CUDA.splitlines().index(
        next(each for each in samples.CUDA.splitlines() if "tile[threadIdx.x]" in each)
    )
    assert f"1 of 2 (line {line + 1}): up to 32 turns" in str(known)


def test_a_kernel_is_chosen_by_its_name() -> None:
    code = samples.cuda("add", 80)
    assert inspect(code).name == "add"
    assert inspect(code, kernel="add4").name == "add4"
    assert inspect(dataclasses.replace(code, name="mangled")).name == "_Z7mangledPf"
    with pytest.raises(ValueError, match=r"kernel='none' is none of what the cubin has: .*add4"):
        inspect(code, kernel="none")
    with pytest.raises(ValueError, match="kernel= must choose from what the cubin has"):
        inspect(code.cubin)


def test_code_runs_on_later_chips_of_its_generation_alone() -> None:
    code = samples.cuda("add", 80)
    found = inspect(code, arch=89, threads=128)
    assert (found.target, found.arch) == ("sm_80", 89)
    assert found.occupancy is not None
    assert found.occupancy.max_warps == 48
    with pytest.raises(ValueError, match="code for sm_80 does not run on sm_90: compile it for that"):
        inspect(code, arch=90)
    with pytest.raises(ValueError, match="code for sm_90a does not run on sm_100"):
        inspect(samples.add(90), arch=100)
    with pytest.raises(ValueError, match="does not run on sm_80"):
        inspect(samples.cuda("add", 89), arch=80)


@pytest.mark.parametrize(("shared", "fits"), [(163 * 1024, True), (163 * 1024 + 1, False)])
def test_dynamic_shared_memory_is_held_against_the_chip(shared: int, fits: bool) -> None:
    found = inspect(samples.cuda("dynamic", 80), threads=64, shared=shared)
    assert found.must_opt_in
    assert found.occupancy is not None
    assert (found.occupancy.blocks == 1) == fits
    assert bool(found.problems) != fits
    if not fits:
        assert found.problems[0] == (
            "No launch can succeed: a block takes 166913 bytes of shared memory, and has at most 166912 on sm_80."
        )


def test_shared_memory_whose_size_the_launch_decides_on_is_asked_for() -> None:
    assert "The code uses some, and the launch says how much: give shared=." in str(
        inspect(samples.cuda("dynamic", 80))
    )


def test_more_threads_than_the_kernel_was_compiled_for() -> None:
    code = samples.cuda("spilling", 80)
    assert not any("compiled for" in each for each in inspect(code, threads=1024).problems)
    found = inspect(dataclasses.replace(code, threads=2048))
    assert any("compiled for blocks of at most 1024 threads, not of 2048" in each for each in found.problems)


def test_a_report_explains_each_fact() -> None:
    for found in (inspect(samples.flash(100)), inspect(samples.cuda("indexed", 90), threads=64)):
        table = found.facts()
        assert all(len(row) == 3 and str(row[2]).endswith(".") for row in table.rows)
        shown = found._repr_markdown_()
        assert "| fact | value | what it means |" in shown
        assert all(str(row[0]) in shown for row in table.rows)
        assert repr(found) == str(found)
        assert ("is not counted" in str(found.facts())) == (found.tensor_generation == "tcgen05")


def test_source_beside_machine_code() -> None:
    code = samples.add(90)
    found = inspect(code)
    shown = found.beside_source()
    assert sorted(each.address for each in shown.instructions) == [each.address for each in found.instructions]
    (line,) = [group for group in shown.groups if "LDG" in {each.name for each in group.instructions}]
    assert line.text.strip().startswith("tl.store(out + offsets")
    assert code.source.splitlines()[line.line - 1] == line.text if line.line else False
    memory = found.beside_source(only="memory")
    assert [each.name for each in memory.instructions] == ["LDG"] * 4 + ["STG"] * 2
    assert "def vector_add" not in str(memory)


def test_program_order_and_the_main_loop() -> None:
    found = inspect(samples.flash(90))
    assert found.main_loop is not None
    program = found.beside_source(order="program")
    assert program.instructions == found.instructions
    loop = found.beside_source(main_loop=True)
    assert set(loop.instructions) == set(found.main_loop.instructions)
    assert {each.name for each in found.beside_source(main_loop=True, only="tensor").instructions} == {"HGMMA"}
    bars = [row for row in str(program).splitlines() if re.search(r"\| [0-9a-f]{5}  ", row)]
    assert len(bars) == len(found.main_loop.instructions)


def test_ptx_beside_machine_code() -> None:
    shown = inspect(samples.add(80)).beside_ptx(only="memory")
    groups = [group for group in shown.groups if group.instructions]
    assert [len(group.instructions) for group in groups] == [1] * 6
    assert all("global.v4.b32" in group.text for group in groups)
    with pytest.raises(ValueError, match="the PTX is not at hand"):
        inspect(samples.add(80).cubin).beside_ptx()


def test_spills_are_shown_where_they_happen() -> None:
    shown = inspect(samples.cuda("spilling", 90)).beside_source(only="spills")
    assert {each.name for each in shown.instructions} == {"LDL", "STL"}
    assert "spill" in shown._repr_html_()


def test_without_its_source_lines_are_numbers() -> None:
    shown = inspect(samples.cuda("add", 80).cubin, kernel="add").beside_source()
    assert all(group.line and not group.text for group in shown.groups)


def test_source_is_data_in_html() -> None:
    code = samples.cuda("add", 80)
    evil = code.source.replace("if (i < n)", "<script>alert(1)</script>")
    shown = inspect(dataclasses.replace(code, source=evil)).beside_source()._repr_html_()
    assert "<script>" not in shown
    assert html.escape("<script>alert(1)</script>") in shown
    assert 'class="memory"' in shown


def test_a_filter_that_does_not_exist_is_refused() -> None:
    found = inspect(samples.add(80))
    with pytest.raises(ValueError, match="only='loads'"):
        found.beside_source(only="loads")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order='x'"):
        found.beside_source(order="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vector_add has no loop"):
        found.beside_source(main_loop=True)


def test_a_comparison_marks_what_has_changed() -> None:
    one, other = inspect(samples.add(90, aligned=False)), inspect(samples.add(90))
    found = compare(one, other, ("unaligned", "aligned"))
    assert found.facts["global loads"] == ("16 of 32 bits", "4 of 128 bits")
    assert {"global loads", "global stores", "instructions"} <= set(found.changed)
    assert "spills" not in found.changed
    assert "| **global loads** | 16 of 32 bits | 4 of 128 bits |" in found._repr_markdown_()
    assert re.search(r"^\* +global loads", str(found), re.MULTILINE)
    assert compare(one, inspect(samples.add(80))).names == ("vector_add sm_90a", "vector_add sm_80")
    assert not compare(one, one).changed


def test_what_one_of_them_lacks_is_none() -> None:
    found = compare(inspect(samples.flash(80)), inspect(samples.flash(90)))
    assert found.facts["tensor cores"] == ("64 HMMA", "8 HGMMA")
    lone = compare(inspect(samples.add(80)), inspect(samples.flash(80)))
    assert lone.facts["matrix loads"][0] == "none"
