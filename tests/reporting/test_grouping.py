"""What people got wrong, put together."""

import pytest

from autograder.judge import Verdict
from autograder.reporting.grouping import LONGEST, group_wrong, without_numbers


def failed(message: str, mistake: str = "") -> Verdict:
    return Verdict("c", "failed", 0.0, message=message, mistake=mistake, evidence=(f"f() → {message}",))


def test_what_says_the_same_is_one_group() -> None:
    groups = group_wrong(
        [
            ("a", failed("expected 3, got 4")),
            ("b", failed("expected 5, got 5.5")),
            ("c", failed("raised KeyError: 17")),
            ("d", failed("expected 1, got 2", "Is it counted twice?")),
            ("e", failed("something else", "Is it counted twice?")),
            ("f", failed("nan", "Is it counted twice?")),
        ]
    )
    assert [(group.says, group.known, group.count, group.students) for group in groups] == [
        ("Is it counted twice?", True, 3, ["d", "e", "f"]),
        ("expected #, got #", False, 2, ["a", "b"]),
        ("raised KeyError: #", False, 1, ["c"]),
    ]
    assert groups[1].message == "expected 3, got 4"
    assert groups[1].evidence == ["f() → expected 3, got 4"]


def test_mistake_and_message_of_the_same_words_are_two_groups() -> None:
    assert len(group_wrong([("a", failed("x")), ("b", failed("y", "x"))])) == 2


def test_what_says_nothing_and_what_says_too_much() -> None:
    assert group_wrong([("a", failed(""))])[0].says == "earned a part of the points"
    assert len(group_wrong([("a", failed("x" * 5000))])[0].says) == LONGEST


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at 0x7f12ab: -3 and 1e-05", "at #: -# and #"),
        ("1,000,000 of 2_000", "# of #"),
        ("layer3 of v2", "layer3 of v2"),
        ("shape (4, 64, 32)", "shape (#, #, #)"),
    ],
)
def test_numbers(text: str, said: str) -> None:
    assert without_numbers(text) == said
