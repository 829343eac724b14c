"""The grader's key: it signs records, so that a grade that nobody computed shows.

Ed25519: who has the public half can check records, and sign none.
"""

import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.course.record import Record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VARIABLE = "AUTOGRADER_KEY"
"""An environment variable: the file of the key, where it is not in the user's own folder."""


class KeyFileError(Exception):
    """The key's file cannot be read or made. The message says what to do."""


class Key:
    """A key that checks records, and signs them where its private half is there.

    Attributes:
        fingerprint: Of the public half: its first 16 hexadecimal digits.
    """

    def __init__(self, public: "Ed25519PublicKey", private: "Ed25519PrivateKey | None" = None) -> None:
        """Takes its halves."""
        self._public, self._private = public, private
        self.fingerprint = public.public_bytes_raw().hex()[:16]

    def sign(self, record: Record) -> Record:
        """Returns the record with its signature.

        Raises:
            KeyFileError: There is only the public half.
        """
        if self._private is None:
            raise KeyFileError("this key can check records, not sign them: it is the public half")
        plain = Record.from_json(record.to_json())  # 5 and 5.0 are one number, and two texts
        named = replace(plain, signer=self.fingerprint)
        return replace(named, signature=self._private.sign(named.signed_part()).hex())

    def has_signed(self, record: Record) -> bool:
        """Returns whether the record is as it was when this key signed it."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(bytes.fromhex(record.signature), record.signed_part())
        except (InvalidSignature, ValueError, TypeError):
            return False
        return record.signer == self.fingerprint


def key_file() -> Path:
    """Returns where the grader's key is: what AUTOGRADER_KEY names, or a file in the user's own folder."""
    import platformdirs

    named = os.environ.get(VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("autograder", appauthor=False) / "grader-key.pem"


def load_key(*, make: bool = False) -> Key:
    """Returns the grader's key.

    Args:
        make: Make one where there is none, with its public half beside it (`.pub`), for who is to check only.

    Raises:
        KeyFileError: There is none, or it cannot be read or made.
    """
    path = key_file()
    try:
        if make and not path.exists():
            if path.suffix == ".pub":
                raise KeyFileError(f"{path} is to be the public half of a key, which cannot sign: name the key itself")
            _make(path)
        data = path.read_bytes()
        if b"PRIVATE" in data and path.stat().st_mode & 0o077:
            raise KeyFileError(f"others can read the grader's key {path}: make it yours alone, with `chmod 600`")
        return _read(data, path)
    except FileNotFoundError as error:
        raise KeyFileError(
            f"there is no grader's key in {path}: set {VARIABLE} to the file of the key, or of its public half"
        ) from error
    except OSError as error:
        raise KeyFileError(f"the grader's key {path}: {error.strerror}") from error


@functools.lru_cache(maxsize=4)
def _read(data: bytes, path: Path) -> Key:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    try:
        if b"PRIVATE" not in data:
            public = load_pem_public_key(data)
            if isinstance(public, ed25519.Ed25519PublicKey):
                return Key(public)
        else:
            private = load_pem_private_key(data, None)
            if isinstance(private, ed25519.Ed25519PrivateKey):
                return Key(private.public_key(), private)
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path} is no key in PEM without a password: {error}") from error
    raise KeyFileError(f"{path} is no Ed25519 key")


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.with_suffix(".pub").write_bytes(public)
        temporary = path.with_name(f"{path.name}.new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
