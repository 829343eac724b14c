"""Decompresses gzip (RFC 1952) bit by bit, and never more of it than there is room for: a bomb stays small."""

import zlib

_GZIP = 16 + zlib.MAX_WBITS  # zlib's number for: with a header and a checksum, as gzip has them
_MAX_MEMBERS = 1000


class Gunzip:
    """A stream of one or more members. Zeros after one are padding, as they are for gzip itself.

    Attributes:
        complete: Whether what was fed so far ends where a member does.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._members = 1
        self.complete = False

    def feed(self, data: bytes, room: int) -> bytes:
        """Takes the next bytes, and returns what they hold; what goes beyond `room` bytes is dropped.

        Raises:
            ValueError: They are not gzip.
        """
        made = bytearray()
        try:
            while data and len(made) < room:
                if self._member.eof:
                    if not (data := data.lstrip(b"\0")):
                        break
                    self._begin()
                made += self._member.decompress(data, room - len(made))
                data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except zlib.error as error:
            raise ValueError(f"what came is not gzip: {error}") from None
        self.complete = self._member.eof and not data
        return bytes(made)

    def _begin(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:  # each costs a copy of what follows it
            raise ValueError(f"it has more than {_MAX_MEMBERS} members")
        self._member = zlib.decompressobj(_GZIP)
