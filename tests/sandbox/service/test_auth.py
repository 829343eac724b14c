"""Tenants, their tokens, and the marks by which nodes know each other."""

import json
from pathlib import Path

import pytest

from workbook.sandbox.service.auth import Hops, Tenant, Tenants, TenantsError, digest_of, new_token, read_tenants

DIGEST = digest_of("token")
HOPS = Hops(b"secret")


def test_a_file_in_toml_or_json(tmp_path: Path) -> None:
    entry = {"name": "ada", "token_sha256": [DIGEST], "sessions": 3, "allow": ["a.test"], "admin": True}
    (tmp_path / "t.json").write_text(json.dumps({"tenants": [entry]}))
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in entry.items())
    (tmp_path / "t.toml").write_text(f"[[tenants]]\n{text}\n")
    for name in ("t.json", "t.toml"):
        tenants = read_tenants(tmp_path / name)
        assert list(tenants) == [Tenant("ada", (DIGEST,), sessions=3, allow=("a.test",), admin=True)]
        assert tenants.of_token("token") is tenants["ada"]
        assert tenants.of_token("Token") is None
        assert tenants.of_token("\ud800") is None


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"name": "a"},
        {"name": "a/b", "token_sha256": DIGEST},
        {"name": "a", "token_sha256": DIGEST.upper()},
        {"name": "a", "token_sha256": []},
        {"name": "a", "token_sha256": DIGEST, "token": "token"},
        {"name": "a", "token_sha256": DIGEST, "sessions": 0},
        {"name": "a", "token_sha256": DIGEST, "sessions": True},
        {"name": "a", "token_sha256": DIGEST, "allow": "a.test"},
        {"name": "a", "token_sha256": DIGEST, "admin": "yes"},
    ],
)
def test_entries_that_are_none(tmp_path: Path, entry: dict[str, object]) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"tenants": [entry]}))
    with pytest.raises(TenantsError, match=r"t\.json"):
        read_tenants(tmp_path / "t.json")


def test_names_and_tokens_are_there_once() -> None:
    for tenants in ([], [Tenant("a", ("1",)), Tenant("a", ("2",))], [Tenant("a", ("1",)), Tenant("b", ("1",))]):
        with pytest.raises(TenantsError):
            Tenants(tenants)
    assert new_token() != new_token()


def test_a_mark_is_for_one_request_of_one_tenant_now() -> None:
    mark = HOPS.mark("ada", "POST", "/v1/sessions", now=1000)
    assert HOPS.tenant(mark, "POST", "/v1/sessions", now=1030) == "ada"
    for forged, method, path, now in (
        (mark, "GET", "/v1/sessions", 1000),
        (mark, "POST", "/v1/other", 1000),
        (mark, "POST", "/v1/sessions", 1100),
        (mark, "POST", "/v1/sessions", 900),
        (mark.replace("ada", "bob"), "POST", "/v1/sessions", 1000),
        (mark.replace("1000", "1001"), "POST", "/v1/sessions", 1000),
        (mark[:-1], "POST", "/v1/sessions", 1000),
        (Hops(b"other").mark("ada", "POST", "/v1/sessions", now=1000), "POST", "/v1/sessions", 1000),
        *((text, "POST", "/v1/sessions", 1000) for text in ("", ":", "a:b:c", "::", "ü")),
    ):
        assert HOPS.tenant(forged, method, path, now=now) is None
