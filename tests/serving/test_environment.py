"""Settings that engines start under stay with the engine, and so does their noise."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from workbook.serving.environment import environment, quiet

ROOT = Path(__file__).parents[2]


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    before = dict(os.environ)

    def start(failing: bool) -> None:
        with environment({"KEPT": "inside", "NEW": "1"}):
            assert os.environ["KEPT"] == "inside"
            assert os.environ["NEW"] == "1"
            assert "VLLM_CPU_KVCACHE_SPACE" not in os.environ
            os.environ["SET_BY_A_LIBRARY"] = "x"
            if failing:
                raise RuntimeError("failed")

    start(failing=False)
    assert dict(os.environ) == before
    with pytest.raises(RuntimeError, match="failed"):
        start(failing=True)
    assert dict(os.environ) == before


def test_what_libraries_write_is_silenced_and_told_when_they_fail(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet():
            os.write(2, b"a C++ library warns\n")
            warnings.warn("deprecated", FutureWarning, stacklevel=1)
        assert not seen
        warnings.warn("heard again", FutureWarning, stacklevel=1)
        assert len(seen) == 1
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"

    def fail() -> None:
        os.write(2, b"the disk is on fire\n")
        raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed") as failure, quiet():
        fail()
    assert "the disk is on fire" in "".join(failure.value.__notes__)


def test_importing_serving_is_cheap() -> None:
    script = "import sys, workbook.serving; print([m for m in ('torch', 'vllm', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
