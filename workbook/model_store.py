"""A local store of models: each is made once, on this machine, and checked on every use.

The store is a folder of the user's cache (`WORKBOOK_CACHE` names another). A model in it is a folder in the layout that
transformers and vLLM load, with a `manifest.json` that holds the SHA-256 of each file and where they come from.

A model appears in one step: it is built beside its place and renamed into it, under a lock. So a killed build leaves
nothing that could be taken for a model, and two processes that want the same one build it once.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

MANIFEST = "manifest.json"
# A quick check hashes this much of each file: small files whole, and the header of a safetensors file.
HEAD_BYTES = 4 << 20


class ModelError(RuntimeError):
    """A model cannot be had; the message says what to do about it."""


@dataclass(frozen=True)
class Recipe:
    """How one model is made.

    Attributes:
        name: The model's name, and its folder's.
        revision: Raised whenever `build` would make other files, so that stores rebuild.
        size: Bytes on disk, roughly.
        build: Writes the model's files into the empty folder it is given, and returns where they come from (JSON).
    """

    name: str
    revision: int
    size: int
    build: Callable[[Path], dict[str, Any]]


def store() -> Path:
    """Returns the folder that holds the models; it need not exist."""
    cache = os.environ.get("WORKBOOK_CACHE")
    root = Path(cache).expanduser().absolute() if cache else platformdirs.user_cache_path("inference-workbook")
    return root / "models"


def defect(recipe: Recipe, *, verify: bool = False) -> str | None:
    """Says what keeps the stored model from being used, None where nothing does.

    Args:
        recipe: The model.
        verify: Read every byte (about a second a gigabyte); otherwise sizes and the first 4 MiB of each file.
    """
    folder = store() / recipe.name
    if not folder.exists():
        return "it is not in the store yet"
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["revision"] != recipe.revision:
            return "it was made by another version of the workbook"
        for name, expected in manifest["files"].items():
            found = _fingerprint(folder / name, whole=verify)
            if found["size"] != expected["size"]:
                return f"{name} has {found['size']:,} bytes instead of {expected['size']:,}"
            if any(found[key] != expected[key] for key in found):
                return f"{name} is not what was written (its checksum differs)"
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


def prepare(recipe: Recipe, *, verify: bool = False) -> Path:
    """Returns the model's folder, building it in this process where the stored one is missing or damaged.

    Args:
        recipe: The model.
        verify: Read every byte of a stored model before trusting it.

    Raises:
        ModelError: It cannot be built: no source, a full disk, a store that cannot be written.
    """
    root, folder = store(), store() / recipe.name
    if defect(recipe, verify=verify) is None:
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(recipe, root):
            problem = defect(recipe, verify=verify)  # another process may have built it meanwhile
            if problem is not None:
                say(f"{recipe.name}: {problem}; building it in {root}")
                _build(recipe, folder)
    except Exception as error:
        if _says_disk_full(error):
            raise _disk_full(recipe, root) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            raise ModelError(
                f"the model store {root} cannot be written ({error}): set WORKBOOK_CACHE to a folder of yours"
            ) from error
        raise
    return folder


@contextmanager
def _locked(recipe: Recipe, root: Path) -> Iterator[None]:
    lock = FileLock(root / f"{recipe.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{recipe.name}: another process is preparing it, waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(recipe: Recipe, folder: Path) -> None:
    """Builds the model beside `folder` and puts it in its place. The caller holds the lock."""
    partial = folder.with_name(f".{recipe.name}.partial")
    _remove(partial)  # debris of a killed build
    if shutil.disk_usage(folder.parent).free < recipe.size:
        raise _disk_full(recipe, folder.parent)
    try:
        partial.mkdir()
        source = recipe.build(partial)
        say(f"{recipe.name}: writing checksums")
        files = {path.name: _fingerprint(path, whole=True) for path in sorted(partial.iterdir())}
        manifest = {"model": recipe.name, "revision": recipe.revision, "source": source, "files": files}
        write_json(partial / MANIFEST, manifest)
        for path in [*partial.iterdir(), partial]:
            _sync(path)
        _remove(folder)
        partial.rename(folder)
        _sync(folder.parent)
    finally:
        _remove(partial)


def _fingerprint(path: Path, *, whole: bool) -> dict[str, Any]:
    """Returns a file's size and the SHA-256 of its first HEAD_BYTES, with that of the whole where asked."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        fingerprint = {"size": size, "sha256_head": hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()}
        if whole:
            file.seek(0)
            fingerprint["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return fingerprint


def _says_disk_full(error: BaseException | None) -> bool:
    """Tells whether an error, or one that it came from, is a full disk; libraries in Rust only say it in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "os error 28" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _disk_full(recipe: Recipe, root: Path) -> ModelError:
    return ModelError(
        f"{recipe.name} needs {recipe.size:,} bytes in {root}, where {shutil.disk_usage(root).free:,} are free: "
        "make room, or set WORKBOOK_CACHE to a folder on another disk"
    )


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _sync(path: Path) -> None:
    """Waits until a file's or folder's contents are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def say(text: str) -> None:
    """Tells the user what is being done; on stderr, where it does not mix with results."""
    print(text, file=sys.stderr, flush=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a value as readable JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n")
