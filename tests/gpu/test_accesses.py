"""Bank conflicts and coalescing of kernels where both are known."""

import pytest

from tests.gpu import samples
from workbook.gpu.accesses import Accesses, accesses
from workbook.gpu.sass import Instruction, Kernel, kernels


def found(name: str, arch: int, block: tuple[int, int, int] = (128, 1, 1)) -> Accesses:
    return accesses(kernels(samples.cuda(name, arch).cubin)[name], block)


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_a_column_of_a_square_tile_lies_in_one_bank(arch: int) -> None:
    plain = found("transpose", arch, (32, 32, 1))
    assert [(each.instruction.name, each.ways) for each in plain.conflicts] == [("LDS", 32)]
    assert (plain.count("shared"), plain.count("global")) == (2, 2)
    assert not plain.uncoalesced
    padded = found("padded_transpose", arch, (32, 32, 1))
    assert (padded.conflicts, padded.count("shared"), dict(padded.unknown)) == ((), 2, {})


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_every_eighth_word_wastes_sectors(arch: int) -> None:
    bad = found("eighth", arch)
    (load,) = bad.uncoalesced
    assert (load.instruction.name, load.ideal, load.sectors) == ("LDG", 4, 32)
    (store,) = (each for each in bad.analysed if each.instruction.name == "STG")
    assert store.coalesced


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_wide_loads_are_coalesced(arch: int) -> None:
    for kernel in (kernels(samples.add(arch).cubin)["vector_add"], kernels(samples.cuda("add4", arch).cubin)["add4"]):
        wide = accesses(kernel, (128, 1, 1))
        assert {each.ideal for each in wide.analysed} == {16}
        assert not wide.uncoalesced
        assert not wide.unknown


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_what_cannot_be_known_is_counted_with_its_reason(arch: int) -> None:
    """The column's pitch is an argument; a gathered address is data."""
    transposed = found("naive_transpose", arch, (32, 32, 1))
    linear = "the address is not linear in the thread's number, or multiplies it by an argument"
    assert (len(transposed.analysed), dict(transposed.unknown)) == (1, {linear: 1})
    gathered = found("gathered", arch)
    assert (len(gathered.analysed), sum(gathered.unknown.values())) == (2, 1)
    assert "loaded" in next(iter(gathered.unknown))


@pytest.mark.parametrize(("arch", "unknown"), [(80, 4), (90, 0), (100, 0)])
def test_attention_has_no_conflicts(arch: int, unknown: int) -> None:
    """Triton swizzles its tiles. What the analysis cannot follow is a few accesses at most."""
    all_of_it = accesses(kernels(samples.flash(arch).cubin)["attention"], (128, 1, 1))
    assert not all_of_it.conflicts
    assert not all_of_it.uncoalesced
    assert len(all_of_it.analysed) > 50
    assert sum(all_of_it.unknown.values()) == unknown


def test_tma_is_not_analysed_and_named() -> None:
    code = (
        Instruction(0, "", "UTMALDG.2D", "[UR8], [UR4]"),
        Instruction(16, "", "LD.E", "R0, [R2.64]"),
        Instruction(32, "", "EXIT", ""),
    )
    unknown = accesses(Kernel("k", "sm_90", code, {}), (128, 1, 1)).unknown
    assert set(unknown) == {
        "copied by TMA, which lays the tile out itself",
        "generic address space — cannot tell shared from global",
    }


@pytest.mark.parametrize(
    ("constant", "stride"),
    [("HFMA2.MMA R3, -RZ, RZ, 0, 2.384185791015625e-07", 4), ("HFMA2 R3, -RZ, RZ, 0, 9.5367431640625e-07", 16)],
)
def test_constants_of_the_half_precision_unit_are_read(constant: str, stride: int) -> None:
    """Compilers use it to load small integers: 2.38e-07 is the half with the bits of 4."""
    opcode, _, operands = constant.partition(" ")
    code = (
        Instruction(0, "", "S2R", "R0, SR_TID.X"),
        Instruction(16, "", opcode, operands),
        Instruction(32, "", "IMAD.WIDE", "R4, R0, R3, c[0x0][0x160]"),
        Instruction(48, "", "LDG.E", "R6, [R4.64]"),
        Instruction(64, "", "EXIT", ""),
    )
    (load,) = accesses(Kernel("k", "sm_80", code, {}), (128, 1, 1)).analysed
    assert load.sectors == {4: 5, 16: 17}[stride]


@pytest.mark.parametrize(
    ("extend", "offset"),
    [("SGXT.U32 R1, R0, 0x2", lambda lane: lane & 3), ("SGXT R1, R0, 0x1", lambda lane: -(lane & 1))],
)
def test_the_lowest_bits_of_a_number_are_followed(extend: str, offset: object) -> None:
    """Addresses that repeat every 4 lanes, and such as go back by 128 bytes at each odd one."""
    opcode, _, operands = extend.partition(" ")
    code = (
        Instruction(0, "", "S2R", "R0, SR_TID.X"),
        Instruction(16, "", opcode, operands),
        Instruction(32, "", "SHF.L.U32", "R2, R1, 0x7, RZ"),
        Instruction(48, "", "LDS", "R3, [R2+0x100]"),
        Instruction(64, "", "EXIT", ""),
    )
    (load,) = accesses(Kernel("k", "sm_80", code, {}), (128, 1, 1)).analysed
    assert callable(offset)
    assert load.ways == len({offset(lane) for lane in range(32)})
