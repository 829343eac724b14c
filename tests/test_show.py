"""Tables: readable as text, and nothing in them taken for markup."""

import nbconvert.filters.markdown_mistune as mistune

from workbook.show import Table


def render(table: Table) -> str:
    return str(mistune.markdown2html_mistune(table._repr_markdown_()))


def test_text_is_aligned() -> None:
    table = Table(("name", "value"), [("short", 1), ("rather long", 2.5)])
    assert str(table).splitlines() == ["name         value", "short        1", "rather long  2.5"]


def test_nothing_in_a_cell_is_taken_for_markup() -> None:
    nasty = ["a|b", "<script>", "x_1_y", "$1 + $2", "`code`", "[link](http://x)", "~~gone~~", "back\\slash", "&amp;"]
    shown = render(Table(("cell",), [(text,) for text in nasty]))
    cells = [cell.split("</td>")[0] for cell in shown.split("<td>")[1:]]
    escaped = ["a|b", "&lt;script&gt;", "x_1_y", "$1 + $2", "`code`", "[link](http://x)", "~~gone~~", "back\\slash"]
    assert cells == [*escaped, "&amp;amp;"]


def test_lines_in_a_cell_stay_in_its_row() -> None:
    table = Table(("cell",), [("first\nsecond",)])
    assert len(str(table).splitlines()) == 2
    assert "first\\nsecond" in render(table)


def test_nothing_in_a_cell_speaks_to_the_terminal_or_ends_the_row() -> None:
    table = Table(("cell",), [("a\rb\x1b[31mc\u2028d\x85e\x00\ud800",)])
    for text in (str(table), table._repr_markdown_()):
        assert text.isprintable() or set(text) - {"\n"} == {one for one in text if one.isprintable()}
    assert str(table).splitlines()[1] == r"a\rb\x1b[31mc\u2028d\x85e\x00\ud800"


def test_bold_is_bold() -> None:
    assert "<strong>lost</strong>" in render(Table(("variables",), [("**lost**",)]))
