"""Unpacks what a stranger has packed: regular files with plain names alone, and never more than there is room for.

The standard library's `tarfile` is not used: it reads the extended headers of an archive whole, however large, and
Python 3.11's searches them in quadratic time (CVE-2024-6232). What is needed of the format is little.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from workbook.sandbox.service.gunzip import Gunzip

_BLOCK = 512  # bytes; all of a tar archive is in such blocks
_CHUNK = 1 << 16
_MAX_PATH = 1024  # bytes
_MAX_EXTENDED = 8192  # bytes of an extended header
_GZIP_MAGIC, _ZIP_MAGIC, _EMPTY_ZIP = b"\x1f\x8b", b"PK\3\4", b"PK\5\6"
_ENTRY = b"PK\1\2"  # begins each entry of a zip archive's directory
_ENCRYPTED = 1


class ArchiveError(Exception):
    """An archive is damaged, too large, or holds what is not unpacked. Says what."""


def unpack(archive: bytes, *, max_files: int, max_bytes: int) -> dict[str, bytes]:
    """Returns the files of a zip, tar or gzipped tar archive: relative paths and contents.

    Raises:
        ArchiveError: It is none, is damaged or too large, or holds a link, a device, or a path that leads elsewhere.
    """
    zipped = archive.startswith((_ZIP_MAGIC, _EMPTY_ZIP))
    # The padding and headers of a tar archive: three blocks a file, and extended headers.
    room = max_bytes + max_files * 8 * _BLOCK + 64 * _BLOCK
    files: dict[str, bytes] = {}
    left = max_bytes
    entries = _zip_files(archive, max_files, max_bytes) if zipped else _tar_files(_inflate(archive, room))
    try:
        for name, content in entries:
            path = plain_path(name)
            if path in files or any(str(parent) in files for parent in PurePosixPath(path).parents):
                raise ArchiveError(f"it has {path[:200]!r} twice")
            left -= len(content)
            if left < 0:
                raise ArchiveError(f"its files are larger than {max_bytes:,} bytes together")
            if len(files) == max_files:
                raise ArchiveError(f"it has more than {max_files:,} files")
            files[path] = content
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise ArchiveError(f"it is damaged: {error}") from None
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    if both := folders & set(files):
        raise ArchiveError(f"{min(both)[:200]!r} is both a file and a folder")
    return files


def plain_path(name: str) -> str:
    """Returns a relative path in its shortest form.

    Raises:
        ArchiveError: It is absolute, leads upwards, or is one that not all systems read alike.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ArchiveError(f"the path {name[:200]!r} leads elsewhere")
    if len(name.encode(errors="surrogatepass")) > _MAX_PATH or "\\" in name or not name.isprintable():
        raise ArchiveError(f"the path {name[:200]!r} is too long, or has a backslash or a control character")
    return str(path)


def _inflate(data: bytes, room: int) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    gunzip, made = Gunzip(), bytearray()
    try:
        for start in range(0, len(data), _CHUNK):
            made += gunzip.feed(data[start : start + _CHUNK], room + 1 - len(made))
            if len(made) > room:
                raise ArchiveError(f"it becomes larger than {room:,} bytes when decompressed")
    except ValueError as error:
        raise ArchiveError(str(error)) from None
    if not gunzip.complete:
        raise ArchiveError("it ends in the middle")
    return bytes(made)


def _zip_files(archive: bytes, max_files: int, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    # Asked before the directory is read, which makes an object of each entry. Folders have entries of their own.
    if archive.count(_ENTRY) > 4 * max_files + 64:
        raise ArchiveError(f"it has more than {max_files:,} files")
    left = max_bytes
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for entry in opened.infolist():
            if not entry.filename:
                raise ArchiveError("it has a file without a name")
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                plain_path(entry.orig_filename)
                continue
            if kind not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED:
                raise ArchiveError(f"{entry.filename[:200]!r} is a link, a device or encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(f"{entry.filename[:200]!r} is compressed in another way than deflate")
            with opened.open(entry) as file:
                content = file.read(left + 1)  # whatever the directory says of its size
            left -= len(content)
            yield entry.orig_filename, content


def _tar_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Reads a tar archive: POSIX's `ustar` and `pax` formats, and GNU's long names."""
    at, long_name = 0, ""
    while len(header := data[at : at + _BLOCK]) == _BLOCK and header.strip(b"\0"):
        if sum(header[:148]) + 8 * ord(" ") + sum(header[156:]) != _octal(header[148:156]):
            raise ArchiveError("it is neither a zip nor a tar archive, plain or gzipped, or is damaged")
        kind, size = header[156:157], _octal(header[124:136])
        content = data[at + _BLOCK : at + _BLOCK + size]
        if len(content) < size:
            raise ArchiveError("it ends in the middle")
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK
        name, prefix = _text(header[:100]), _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
        name, long_for = long_name or (f"{prefix}/{name}" if prefix else name), long_name
        long_name = ""
        if kind in (b"x", b"L"):
            if size > _MAX_EXTENDED:
                raise ArchiveError("it has an extended header that is too large")
            long_name = _text(content) if kind == b"L" else _pax_path(content) or long_for
        elif kind == b"5" or name.endswith("/"):
            if name.strip("./"):
                plain_path(name)
        elif kind in (b"0", b"\0"):
            yield name, content
        elif kind != b"g":  # which says things of all files, none of them needed
            raise ArchiveError(f"{name[:200]!r} is a link, a device or a sparse file")
    if at == 0:
        raise ArchiveError("it is empty, or neither a zip nor a tar archive")
    if header.strip(b"\0") or at > len(data):
        raise ArchiveError("it ends in the middle")


def _pax_path(content: bytes) -> str:
    """The path in an extended header, a series of `<length> <key>=<value>` lines; empty where it has none."""
    path = ""
    while content:
        length = content[:8].partition(b" ")[0]
        if not length.isdigit() or not 5 <= int(length) <= len(content):
            raise ArchiveError("it has an extended header that is damaged")
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            path = value.decode()
        elif key == b"size" or key.startswith(b"GNU.sparse."):
            raise ArchiveError("it has a file that is sparse, or of 8 GiB")
        content = content[int(length) :]
    return path


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ArchiveError("it is neither a zip nor a tar archive, plain or gzipped, or is damaged")
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode()
