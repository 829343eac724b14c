"""The only script of a report: tables of the class's page are sorted, searched and paged by DataTables.

It comes with itables, which needs no other package. A page names the script's digest and allows no other one, so that
nothing in students' texts can run, wherever it ends up.
"""

import base64
import functools
import hashlib
import re
from importlib import resources


@functools.cache
def table_script() -> str:
    """Returns DataTables and what applies it to the page's tables, as the text of one element."""
    bundle = (resources.files("itables") / "html" / "dt_bundle.js").read_text(encoding="utf-8")
    exported = re.search(r"export\{[^}]*?(\w+) as default[^}]*\};?", bundle)
    if exported is None:
        raise LookupError("this itables keeps DataTables otherwise than the report expects")
    ours = (resources.files("autograder.reporting") / "templates" / "tables.js").read_text(encoding="utf-8")
    text = f"{bundle[: exported.start()]}const DataTable={exported[1]};{bundle[exported.end() :]}\n{ours}"
    # In a page these would end the element, or keep it from ending; in strings and expressions they mean the same.
    return re.sub(r"<(?=!--|/?script)", r"\\x3C", text, flags=re.IGNORECASE)


def digest_of(script: str) -> str:
    """Returns what a Content-Security-Policy calls a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
