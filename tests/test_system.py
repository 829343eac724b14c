"""A missing system package is a skip that names it, and in CI a failure."""

import pytest

from tests.system import need


def test_a_command_that_is_there() -> None:
    assert need("sh", "dash").endswith("/sh")


def test_a_missing_command_is_a_skip_that_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-command.*no-such-package.*apt\.txt"):
        need("no-such-command", "no-such-package")


def test_a_missing_command_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-package"):
        need("no-such-command", "no-such-package")
