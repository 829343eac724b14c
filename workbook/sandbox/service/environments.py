"""Named environments: packages that a session can import besides those of the workbook's own environment.

A folder holds a lock for each, `<name>.txt`, of lines `name==version --hash=sha256:…`. An environment is made when it
is first wanted, from wheels alone, so that nothing of a package runs; afterwards it is read-only, and is checked on
every use against the digests of its files. What a changed lock asks for is another environment. A session begins with
`<name>@<digest of the lock>`, and so comes back with what it had, or not at all.

pip makes it, as it is configured on this machine: `PIP_INDEX_URL`, `PIP_FIND_LINKS` and `PIP_NO_INDEX` do what they
always do.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

DEFAULT = "default"
"""The environment that is always there, and adds nothing."""

_MANIFEST = "manifest.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PINNED = re.compile(rf"({_NAME.pattern})@([0-9a-f]{{32}})")
_PACKAGE = r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9._, -]*\])?==[A-Za-z0-9.!+_-]+"
_LOCKED = re.compile(_PACKAGE + r"(?: *;[^#\\]*?)?(?: +--hash=sha256:[0-9a-f]{64})+")
# What closes a box in is imported from the same folder, which comes first, and before the box is closed.
_TAKEN = sys.stdlib_module_names | {"workbook"}
_BUILD_TIMEOUT = 600.0
_LAST_LINES = 15
_INSTALL = (
    *(sys.executable, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
    *("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile"),
)


class EnvironmentUnavailableError(Exception):
    """An environment cannot be had, or is not what was made. Says why."""


class EnvironmentChangedError(EnvironmentUnavailableError):
    """There is an environment of that name, and not with the lock that was asked for."""


def name_of(environment: str) -> str:
    """Returns an environment's name without the digest of its lock."""
    return environment.partition("@")[0]


def only_the_default(environment: str) -> Mapping[str, Path]:
    """What a box needs of an environment where there are no locks; see `Environments.files`.

    Raises:
        EnvironmentUnavailableError: It is another one than the default.
    """
    if environment != DEFAULT:
        raise EnvironmentUnavailableError(f"there is no environment {name_of(environment)!r} here: see --environments")
    return {}


class Environments:
    """The environments of a folder of locks. May be used by several threads and processes at once."""

    def __init__(self, locks: Path, cache: Path) -> None:
        """Takes the folders; nothing is made yet.

        Args:
            locks: Holds `<name>.txt`.
            cache: Where environments are kept. Nobody but this service may write there.
        """
        self._locks, self._cache = locks, cache

    def names(self) -> list[str]:
        """All names, `default` among them."""
        found = {path.stem for path in self._locks.glob("*.txt") if _NAME.fullmatch(path.stem)}
        return sorted(found | {DEFAULT})

    def pinned(self, name: str) -> str:
        """Returns an environment's name with the digest of its lock, by which it is the same for ever.

        Raises:
            EnvironmentUnavailableError: There is none of that name, or its lock is none.
        """
        return name if name == DEFAULT else f"{name}@{_digest(self._read_lock(name))}"

    def get(self, name: str) -> Path:
        """Returns the folder of an environment's packages, which is made where it is not there yet.

        Args:
            name: Its name; or as `pinned` has returned it, when an earlier lock will do only if it was made then.

        Raises:
            EnvironmentChangedError: Its lock is another one by now.
            EnvironmentUnavailableError: There is none of that name, it could not be made, or a file of it has changed.
        """
        wanted = ""
        if match := _PINNED.fullmatch(name):
            name, wanted = match.groups()
            if (place := self._place(name, wanted)).exists():
                _verify(name, place)
                return place / "packages"
        lock = self._read_lock(name)
        if wanted not in ("", _digest(lock)):
            raise EnvironmentChangedError(
                f"the environment {name!r} has another lock by now, and what the earlier one asked for is not in "
                f"{self._cache}: give it the earlier lock back, or begin a new session"
            )
        place = self._place(name, _digest(lock))
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                with FileLock(self._cache / f".{place.name}.lock", timeout=2 * _BUILD_TIMEOUT):
                    if not place.exists():
                        self._make(name, lock, place)
            _verify(name, place)
        except Timeout:
            raise EnvironmentUnavailableError(f"the environment {name!r} is being made by another process") from None
        except OSError as error:
            raise EnvironmentUnavailableError(f"the environment {name!r} cannot be kept: {error}") from error
        return place / "packages"

    def files(self, name: str) -> dict[str, Path]:
        """What a box needs of an environment, for the `library` of its fork server: paths inside, and the files.

        Raises:
            EnvironmentUnavailableError: As `get`.
        """
        folder = self.get(name)
        return {str(path.relative_to(folder)): path for path in sorted(_files(folder))}

    def _place(self, name: str, digest: str) -> Path:
        """Where the environment of a lock is kept, for this Python on this kind of machine."""
        platform = f"{sys.implementation.cache_tag} {sysconfig.get_platform()}"
        key = hashlib.sha256(f"{platform}\n{digest}".encode()).hexdigest()
        return self._cache / f"{name}-{key[:32]}"

    def _read_lock(self, name: str) -> bytes:
        if name not in self.names():
            raise EnvironmentUnavailableError(f"there is no environment {name!r}: there are {', '.join(self.names())}")
        path = self._locks / f"{name}.txt"
        if name == DEFAULT:
            if path.exists():
                raise EnvironmentUnavailableError(f"{DEFAULT!r} is always empty: give {path} another name")
            return b""
        lock = path.read_bytes()
        for line in lock.decode(errors="replace").replace("\\\n", " ").splitlines():
            text = line.partition("#")[0].strip()
            if text and not _LOCKED.fullmatch(text):
                raise EnvironmentUnavailableError(
                    f"in the lock of {name!r}: {text[:200]!r} is not name==version --hash=sha256:…"
                )
        return lock

    def _make(self, name: str, lock: bytes, place: Path) -> None:
        for left in self._cache.glob(f".{place.name}.making-*"):  # by a process that was killed
            _remove(left)
        made = Path(tempfile.mkdtemp(prefix=f".{place.name}.making-", dir=self._cache))
        try:
            packages = made / "packages"
            packages.mkdir()
            if lock.strip():
                _install(name, lock, made, packages)
            for path in packages.iterdir():
                if (module := path.name.partition(".")[0]) in _TAKEN:
                    raise EnvironmentUnavailableError(f"the environment {name!r} would replace the module {module!r}")
            (made / _MANIFEST).write_text(json.dumps(_digests(packages), indent=1) + "\n")
            for path in [*made.rglob("*"), made]:
                path.chmod(0o555 if path.stat().st_mode & 0o111 else 0o444)
            made.rename(place)
        except BaseException:
            _remove(made)
            raise


def _digest(lock: bytes) -> str:
    return hashlib.sha256(lock).hexdigest()[:32]


def _install(name: str, lock: bytes, made: Path, packages: Path) -> None:
    requirements = made / "lock.txt"
    requirements.write_bytes(lock)
    try:
        done = subprocess.run(
            [*_INSTALL, "--target", packages, "--requirement", requirements],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BUILD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentUnavailableError(
            f"the environment {name!r} was not made within {_BUILD_TIMEOUT:g} s"
        ) from None
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise EnvironmentUnavailableError("\n".join([f"the environment {name!r} was not made; pip says:", *lines]))


def _verify(name: str, place: Path) -> None:
    try:
        expected = json.loads((place / _MANIFEST).read_bytes())
        found = _digests(place / "packages")
    except (OSError, ValueError) as error:
        raise _changed(name, place, f"it cannot be read ({error})") from error
    if found != expected:
        different = {path for path, _ in found.items() ^ expected.items()}
        raise _changed(name, place, f"{min(different)} is not what was installed")


def _changed(name: str, place: Path, what: str) -> EnvironmentUnavailableError:
    return EnvironmentUnavailableError(
        f"the environment {name!r} has changed since it was made: {what}; find out why, then remove {place}"
    )


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, and all that is neither a file nor a folder. Links are not followed."""
    for place, folders, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
        yield from (Path(place, name) for name in folders if Path(place, name).is_symlink())


def _digests(packages: Path) -> dict[str, str]:
    """The SHA-256 of each file.

    Raises:
        OSError: There is something else than files and folders.
    """
    digests = {}
    for path in _files(packages):
        if path.is_symlink() or not path.is_file():
            raise OSError(f"{path} is no regular file")
        digests[str(path.relative_to(packages))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def _remove(folder: Path) -> None:
    """Removes a folder, read-only as it may be."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)
