"""Text that people see: names and messages may hold anything, and a terminal obeys control characters."""

import re

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns a text that pages, tables and terminals can show: control characters are written as escapes."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Returns a text without breaks of lines, for a cell of a table."""
    return " ".join(printable(text).split())


def is_text(name: str) -> bool:
    """Returns whether a file's name is text in UTF-8, so that databases take it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
