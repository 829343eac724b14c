"""Mounts: from folders whose links lead nowhere, and from archives that were packed to do harm."""

import asyncio
import gzip
import hashlib
import io
import os
import random
import socket
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.service.network import Network, response
from workbook.sandbox.service.archives import ArchiveError, unpack
from workbook.sandbox.service.egress import EgressPolicy
from workbook.sandbox.service.mounts import MountError, Mounts, Source

FILES = {
    "a.txt": b"one",
    "folder/b.bin": bytes(range(256)) * 8,
    "folder/deep/ü x.txt": b"",
    "long/" + "n" * 150 + "/c": b"c",
}


def materialise(mounts: Mounts, mount: str = "data") -> dict[str, bytes]:
    return asyncio.run(mounts.materialise(mount))


def of_folder(folder: Path, **limits: int) -> dict[str, bytes]:
    return materialise(Mounts({"data": Source(folder, **limits)}))  # type: ignore[arg-type]


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_a_folder(tmp_path: Path) -> None:
    assert of_folder(fill(tmp_path, FILES)) == FILES


def test_a_mount_that_is_not_there(tmp_path: Path) -> None:
    mounts = Mounts({"data": Source(tmp_path / "missing"), "file": Source(fill(tmp_path, {"x": b""}) / "x")})
    assert mounts.names() == ["data", "file"]
    with pytest.raises(MountError, match=r"'other' cannot be had: there is none of that name; there are: data, file"):
        materialise(mounts, "other")
    with pytest.raises(MountError, match="No such file") as caught:
        materialise(mounts)
    assert caught.value.mount == "data"
    with pytest.raises(MountError, match="Not a directory"):
        materialise(mounts, "file")


@pytest.mark.parametrize("target", ["/etc/passwd", "a.txt", "../outside", "/etc", ".", "dangling"])
def test_links_are_refused(tmp_path: Path, target: str) -> None:
    fill(tmp_path, {"outside": b"secret", "in/a.txt": b"", "in/z": b""})
    (tmp_path / "in" / "link").symlink_to(target)
    with pytest.raises(MountError, match="'link' is a link"):
        of_folder(tmp_path / "in")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MountError, match="'pipe' is neither"):
        of_folder(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        with pytest.raises(MountError, match="'s' is a link, or cannot be read"):
            of_folder(tmp_path)


def test_a_folder_that_is_too_large(tmp_path: Path) -> None:
    fill(tmp_path, {"a": b"12345", "b": b"12345"})
    assert len(of_folder(tmp_path, max_bytes=10, max_files=2)) == 2
    with pytest.raises(MountError, match="larger than 2 files or 9 bytes"):
        of_folder(tmp_path, max_bytes=9, max_files=2)
    with pytest.raises(MountError, match="larger than 1 files"):
        of_folder(tmp_path, max_files=1)
    with (tmp_path / "c").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MountError, match="larger than"):
        of_folder(tmp_path)


def test_a_folder_that_is_too_deep_leaves_nothing_open(tmp_path: Path) -> None:
    fill(tmp_path, {"d/" * 40 + "x": b""})
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(MountError, match="more than 32 folders"):
        of_folder(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_a_folder_that_becomes_a_link_meanwhile_shows_nothing_outside(tmp_path: Path) -> None:
    """Who can write to the folder swaps a part of it for a link while it is read, over and over."""
    inside, done = fill(tmp_path / "in", {"part/x": b"inside"}), threading.Event()
    fill(tmp_path / "secret", {"x": b"secret"})
    (tmp_path / "link").symlink_to("../secret")

    def swap() -> None:
        while not done.is_set():
            (inside / "part").rename(tmp_path / "aside")
            (tmp_path / "link").rename(inside / "part")
            (inside / "part").rename(tmp_path / "link")
            (tmp_path / "aside").rename(inside / "part")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(300):
            with suppress(MountError):  # it saw the link
                assert of_folder(inside) in ({"part/x": b"inside"}, {})
    finally:
        done.set()
        swapping.join()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def tarred(
    files: dict[str, bytes],
    kind: int = tarfile.PAX_FORMAT,
    change: Callable[[tarfile.TarInfo], None] = lambda entry: None,
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            change(entry)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def opened(archive: bytes, max_files: int = 100, max_bytes: int = 1 << 20) -> dict[str, bytes]:
    return unpack(archive, max_files=max_files, max_bytes=max_bytes)


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("squeeze", [bytes, gzip.compress])
def test_tar(kind: int, squeeze: Callable[[bytes], bytes]) -> None:
    assert opened(squeeze(tarred(FILES, kind))) == FILES


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(compression: int) -> None:
    assert opened(zipped(FILES, compression)) == FILES


def test_a_folder_that_was_packed_as_people_do(tmp_path: Path) -> None:
    fill(tmp_path, FILES)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(tmp_path, ".")  # which also has folders, owners and times
    assert opened(buffer.getvalue()) == FILES


@pytest.mark.parametrize("pack", [tarred, zipped])
@pytest.mark.parametrize(
    "path",
    [
        "/etc/x",
        "../x",
        "a/../../x",
        "a/..",
        "//x",
        "a\\..\\x",
        "a\nb",
        "a\x1b[2J",
        "x" * 1100,
        ".",
        "a/./../../b",
        "a\u202eb",
    ],
)
def test_paths_that_lead_elsewhere(pack: Callable[[dict[str, bytes]], bytes], path: str) -> None:
    with pytest.raises(ArchiveError):
        opened(pack({path: b"x"}))


@pytest.mark.parametrize("pack", [tarred, zipped])
def test_a_file_that_is_there_twice_or_is_a_folder_too(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    for paths in (["a", "./a"], ["a", "a/b"], ["a/b", "a"], ["a/b/c", "a"]):
        with pytest.raises(ArchiveError):
            opened(pack(dict.fromkeys(paths, b"x")))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ],
)
def test_links_and_devices_in_a_tar(kind: bytes) -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname = kind, "/etc/passwd"

    with pytest.raises(ArchiveError, match="'x' is a link, a device or a sparse file"):
        opened(tarred({"x": b""}, change=change))


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666, 0o140777])
def test_links_and_devices_in_a_zip(mode: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("x")
        entry.external_attr = mode << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ArchiveError, match="'x' is a link, a device or encrypted"):
        opened(buffer.getvalue())


def test_a_sparse_file_by_extended_header() -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 50)}

    with pytest.raises(ArchiveError, match="sparse"):
        opened(tarred({"x": b"y"}, change=change))


def test_bombs() -> None:
    large = {"x": bytes(64 << 20)}
    for bomb in (zipped(large), gzip.compress(tarred(large)), gzip.compress(bytes(64 << 20))):
        with pytest.raises(ArchiveError):
            opened(bomb)
    many = {f"{number}": bytes(100_000) for number in range(50)}
    for bomb in (zipped(many), tarred(many), gzip.compress(tarred(many))):
        with pytest.raises(ArchiveError, match="larger than"):
            opened(bomb)
    empty = {f"{number}": b"" for number in range(3000)}
    for bomb in (zipped(empty), tarred(empty)):
        with pytest.raises(ArchiveError, match="more than 100 files"):
            opened(bomb)


def test_entries_of_a_zip_that_share_their_bytes_count_each() -> None:
    """As in David Fifield's "A better zip bomb" (WOOT 2019), where a directory names the same bytes many times."""
    archive = zipped({"x": bytes(200_000)})
    start, end = archive.index(b"PK\1\2"), archive.index(b"PK\5\6")
    entry = archive[start:end]
    counted = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 50, 50, 50 * len(entry), start, 0)
    with pytest.raises(ArchiveError):
        opened(archive[:start] + entry * 50 + counted)


def test_a_zip_that_lies_about_a_size() -> None:
    archive = zipped({"x": bytes(8 << 20)})
    for size in (1, 10, 0xFFFF_FFFE):
        lying = archive.replace(struct.pack("<L", 8 << 20), struct.pack("<L", size))
        with pytest.raises(ArchiveError):
            opened(lying)


def test_zips_that_are_encrypted_or_packed_otherwise() -> None:
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(ArchiveError, match="another way than deflate"):
            opened(zipped({"x": b"y"}, compression))
    archive = bytearray(zipped({"x": b"y"}))
    archive[6] |= 1
    archive[archive.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(ArchiveError, match="encrypted"):
        opened(bytes(archive))


def test_an_extended_header_is_not_searched_for_long() -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.pax_headers = {"comment": "1" * 100_000}

    with pytest.raises(ArchiveError, match="extended header that is too large"):
        opened(tarred({"x": b"y"}, change=change))


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>not found</html>", b"x" * 5000, bytes(10240), b"PK\3\4", b"PK\5\6", b"\x1f\x8b", b"\x1f\x8b\x08",
     gzip.compress(b"x", mtime=0), zipped({"q": b""}).replace(b"q", b"\0"), tarred({"a": b"abc"})[:600],
     tarred(FILES)[:700], gzip.compress(tarred(FILES), mtime=0)[:-4], zipped(FILES)[:-30], b"BZh91AY",
     zlib.compress(b"x")],
)  # fmt: skip
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        opened(data)


@given(
    st.sampled_from([tarred(FILES), gzip.compress(tarred(FILES)), zipped(FILES)]),
    st.integers(0, 1 << 32),
    st.integers(1, 8),
)
def test_damage_is_an_archive_error_or_harmless(archive: bytes, seed: int, count: int) -> None:
    chance, damaged = random.Random(seed), bytearray(archive)
    for _ in range(count):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    try:
        files = opened(bytes(damaged))
    except ArchiveError:
        return
    assert sum(map(len, files.values())) <= 1 << 20
    assert not any(path.startswith("/") or ".." in path.split("/") for path in files)


def of_url(
    body: bytes, sha256: str | None = None, allow: tuple[str, ...] = ("data.test",), status: int = 200
) -> dict[str, bytes]:
    network = Network(lambda request: response(status, body=body))
    source = Source("https://data.test/x.tar.gz", sha256=sha256)
    return materialise(Mounts({"data": source}, policy=EgressPolicy(allow=allow), world=network.world))


def test_an_archive_that_is_fetched() -> None:
    archive = gzip.compress(tarred(FILES))
    assert of_url(archive) == FILES
    assert of_url(archive, hashlib.sha256(archive).hexdigest().upper()) == FILES


def test_why_an_archive_cannot_be_had() -> None:
    with pytest.raises(MountError, match=r"the mount 'data' cannot be had: data\.test is not on the allow-list"):
        of_url(b"", allow=())
    with pytest.raises(MountError, match="404 Not Found"):
        of_url(b"", status=404)
    with pytest.raises(MountError, match="its SHA-256 is not the one configured"):
        of_url(gzip.compress(tarred(FILES)), "0" * 64)
    with pytest.raises(MountError, match="neither a zip nor a tar archive"):
        of_url(b"<html>")
