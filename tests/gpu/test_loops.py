"""Loops from branches: natural ones, not every jump backwards."""

import pytest

from tests.gpu import samples
from workbook.gpu.loops import Loop, loops
from workbook.gpu.sass import Instruction, Kernel, kernels


def kernel(text: str) -> Kernel:
    """Makes a kernel of lines: a label with a colon, or an instruction."""
    instructions: list[Instruction] = []
    labels = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.endswith(":"):
            labels[line[:-1]] = len(instructions)
            continue
        predicate, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
        opcode, _, operands = rest.partition(" ")
        instructions.append(Instruction(16 * len(instructions), predicate, opcode, operands))
    return Kernel("k", "sm_90", tuple(instructions), labels)


def shape(found: tuple[Loop, ...]) -> list[tuple[int, int, int, bool]]:
    return [(loop.start // 16, len(loop.instructions), loop.depth, loop.innermost) for loop in found]


def test_a_loop_is_found() -> None:
    found = loops(kernel("MOV R0, RZ\n.L_0:\nLDG.E R1, [R2]\nFADD R0, R0, R1\n@P0 BRA `(.L_0)\nEXIT"))
    assert shape(found) == [(1, 3, 1, True)]


def test_a_loop_in_a_loop() -> None:
    text = """
        MOV R0, RZ
        .L_0:
        LDG.E R1, [R2]
        .L_1:
        FADD R0, R0, R1
        @P0 BRA `(.L_1)
        STG.E [R2], R0
        @P1 BRA `(.L_0)
        EXIT"""
    found = loops(kernel(text))
    assert shape(found) == [(1, 5, 1, False), (2, 2, 2, True)]


def test_a_jump_back_from_code_at_the_end_is_no_loop_and_does_not_widen_one() -> None:
    """As compilers lay out the wait for a barrier that is seldom needed."""
    text = """
        MOV R0, RZ
        .L_0:
        SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4]
        @!P0 BRA `(.L_2)
        .L_1:
        HGMMA.64x64x16.F32.BF16 R4, gdesc[UR4], R4
        @P1 BRA `(.L_0)
        STG.E [R2], R0
        EXIT
        .L_2:
        SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4]
        @!P0 BRA `(.L_2)
        BRA `(.L_1)"""
    found = loops(kernel(text))
    assert shape(found) == [(1, 7, 1, True)], "the wait belongs to the loop, and is none of its own"
    assert "STG" not in {each.name for each in found[0].instructions}


def test_a_branch_forward_and_a_condition_among_operands() -> None:
    text = """
        .L_0:
        FADD R0, R0, R1
        BRA.U !UP0, `(.L_0)
        @P0 BRA `(.L_1)
        FMUL R0, R0, R1
        .L_1:
        EXIT"""
    assert shape(loops(kernel(text))) == [(0, 2, 1, True)]


def test_a_jump_into_the_middle_makes_no_natural_loop() -> None:
    text = """
        @P1 BRA `(.L_1)
        .L_0:
        FADD R0, R0, R1
        .L_1:
        FADD R0, R0, R1
        @P0 BRA `(.L_0)
        EXIT"""
    assert loops(kernel(text)) == ()


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_attention_has_its_loop(arch: int) -> None:
    code = samples.flash(arch)
    found = [loop for loop in loops(kernels(code.cubin)["attention"]) if loop.innermost]
    products = [sum("MMA" in each.name for each in loop.instructions) for loop in found]
    assert max(products) == {80: 64, 90: 8, 100: 8}[arch]
    assert loops(kernels(samples.add(arch).cubin)["vector_add"]) == ()
