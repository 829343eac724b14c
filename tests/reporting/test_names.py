"""Names of students, on pages and of files."""

import re

import pytest

from autograder.printable import one_line, printable
from autograder.reporting.names import page_name
from tests.reporting.sample import HOSTILE


@pytest.mark.parametrize("student", [*HOSTILE, "", ".", "..", "\udcff", "CON", "a/b", "\x00"])
def test_name_of_a_page_is_safe_and_stable(student: str) -> None:
    name = page_name(student)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{12}\.html", name)
    assert len(name) < 100
    assert page_name(student) == name


def test_each_student_has_a_page_of_their_own() -> None:
    names = [*HOSTILE, "a b", "a-b", "A b", "é", "e\u0301", "\udcff", "\udcfe"]
    assert len({page_name(name) for name in names}) == len(names)


def test_printable() -> None:
    assert printable("a\x00b\x1b[31m\udcff\u2028\n") == "a\\x00b\\x1b[31m\\udcff\\u2028\n"
    assert one_line(" a\r\n\tb\x07 ") == "a b\\x07"
