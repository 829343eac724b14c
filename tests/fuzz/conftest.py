"""The two ways to run these tests: the same inputs each time, or FUZZ_MINUTES of new ones. See the package."""

import functools
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
HERE = Path(__file__).parent
_TRIED: Counter[str] = Counter()  # inputs by test
_SHARE = pytest.StashKey[float]()  # seconds of a test

set_hypothesis_home_dir(HERE.parents[1] / "build" / "hypothesis")
# An input that takes seconds is a hang that is still short; a busy machine is given room.
_COMMON = settings(
    deadline=timedelta(seconds=10), database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", _COMMON, derandomize=True, max_examples=100)
# Rounds of so many inputs: a round begins with small ones again.
settings.register_profile("long", _COMMON, derandomize=False, max_examples=300)
settings.load_profile("long" if MINUTES else "ci")


def _searches(item: pytest.Item) -> bool:
    return HERE in item.path.parents and hasattr(getattr(item, "obj", None), "hypothesis")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each searching test its share of the time, and counts its inputs."""
    searching = [item for item in items if _searches(item)] if MINUTES else []
    for item in searching:
        handle = item.obj.hypothesis  # type: ignore[attr-defined]
        handle.inner_test = _counted(handle.inner_test, item.name)
        share = 60 * MINUTES / len(searching)
        item.stash[_SHARE] = share
        item.add_marker(pytest.mark.timeout(share + 300))  # shrinking what is found takes up to five minutes


def _counted(test: Callable[..., None], name: str) -> Callable[..., None]:
    @functools.wraps(test)
    def counted(*arguments: Any, **keywords: Any) -> None:
        _TRIED[name] += 1
        test(*arguments, **keywords)

    return counted


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Repeats a searching test until its share of the time is used up."""
    share = pyfuncitem.stash.get(_SHARE, None)
    if share is None:
        return None
    end = time.monotonic() + share
    while time.monotonic() < end:
        pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames})
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many inputs were tried."""
    for name, tried in sorted(_TRIED.items()):
        terminalreporter.write_line(f"{tried:9,} inputs  {name}")
