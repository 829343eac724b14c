"""Names of students are names of folders: they may hold anything. Here they become text to show, and names of files."""

import hashlib
import os
import re
import unicodedata

_LONGEST_SLUG = 40
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns a text that pages, tables and terminals can show: control characters are written as escapes."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Returns a text without breaks of lines, for a cell of a table."""
    return " ".join(printable(text).split())


def page_name(student: str) -> str:
    """Returns the name of a student's page: the same each time, another one for each student, and safe everywhere.

    A readable part, then a digest: of the folder's own bytes, since two names may look alike, or differ in case alone.
    """
    letters = unicodedata.normalize("NFKD", student).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:_LONGEST_SLUG].strip("-")
    digest = hashlib.sha256(os.fsencode(student)).hexdigest()[:12]
    return f"{slug or 'student'}-{digest}.html"
