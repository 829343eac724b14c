"""The layout: imports run one way, and what is imported is declared."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = {"serving"}  # packages of workbook on which topic packages stand
OURS = {"workbook", "autograder", "benchmarks", "requirements", "tests"}


def imports(path: Path) -> Iterator[str]:
    """Yields the dotted name of each module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", files("workbook"), ids=lambda path: str(path.relative_to(ROOT)))
def test_workbook_imports_neither_the_grader_nor_another_topic(path: Path) -> None:
    own = path.relative_to(ROOT / "workbook").parts[0]
    packages = {folder.name for folder in (ROOT / "workbook").iterdir() if (folder / "__init__.py").exists()}
    for name in imports(path):
        first, *rest = name.split(".")
        assert first not in OURS - {"workbook"}, f"{path.name} imports {name}"
        if first == "workbook":
            topic = rest[0]
            allowed = topic == own or topic in SHARED or topic not in packages
            assert allowed, f"{path.name} imports {name}: what two topics need moves down"
            if own in SHARED or own not in packages:
                assert topic not in packages - SHARED, f"{path.name} is shared, and {name} belongs to a topic"


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines}
    providers = packages_distributions()
    missing = set()
    for path in files("workbook", "autograder", "benchmarks", "requirements", "tests", "chapters"):
        for name in imports(path):
            module = name.split(".")[0]
            known = {package.lower().replace("_", "-") for package in providers.get(module, [])}
            if module not in OURS and module not in sys.stdlib_module_names and known and not known & declared:
                missing.add(f"{module} ({path.relative_to(ROOT)})")
    assert not missing
