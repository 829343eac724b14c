"""Names of students are names of folders: they may hold anything. Here they become names of files."""

import hashlib
import os
import re
import unicodedata

_LONGEST_SLUG = 40


def page_name(student: str) -> str:
    """Returns the name of a student's page: the same each time, another one for each student, and safe everywhere.

    A readable part, then a digest: of the folder's own bytes, since two names may look alike, or differ in case alone.
    """
    letters = unicodedata.normalize("NFKD", student).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:_LONGEST_SLUG].strip("-")
    digest = hashlib.sha256(os.fsencode(student)).hexdigest()[:12]
    return f"{slug or 'student'}-{digest}.html"
