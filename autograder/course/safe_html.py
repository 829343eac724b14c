"""Makes a student's HTML safe to show: no scripts, no styles, nothing that loads or sends anything."""

import functools
from typing import Any

_TEXT = (
    "a abbr b blockquote br code del details dd dl dt div em h1 h2 h3 h4 h5 h6 hr i ins kbd li mark ol p pre q s samp"
)
_MORE = "small span strong sub summary sup u ul var caption table tbody td tfoot th thead tr figcaption figure img"
_TAGS = f"{_TEXT} {_MORE}".split()
_ATTRIBUTES = {"*": ["class", "title"], "a": ["href"], "td": ["colspan", "rowspan"], "th": ["colspan", "rowspan"]}


def clean(html: Any) -> str:
    """Returns `html` with what is not harmless shown as text or left out. A filter in nbconvert's templates."""
    return str(_cleaner().clean(html.decode() if isinstance(html, bytes) else str(html)))


def _attribute(tag: str, name: str, value: str) -> bool:
    if tag == "img":  # pasted pictures, never an address: it would be fetched with the reader's rights
        return name in ("alt", "title", "width", "height") or (name == "src" and value.startswith("data:image/"))
    if tag == "a" and name == "href":
        return value.startswith(("http:", "https:", "mailto:", "#"))
    return name in _ATTRIBUTES["*"] or name in _ATTRIBUTES.get(tag, [])


@functools.cache
def _cleaner() -> Any:
    from bleach.sanitizer import Cleaner  # type: ignore[import-untyped]

    return Cleaner(tags=_TAGS, attributes=_attribute, protocols={"http", "https", "mailto", "data"})
