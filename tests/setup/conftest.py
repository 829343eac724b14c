"""Fixtures: a small project with the workbook's own set-up, so that set-up can be tried in seconds, offline."""

import shutil
import venv
from pathlib import Path

import pytest

from tests.setup.small_project import Project


@pytest.fixture(scope="session")
def bare_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip and nothing else; made once, since it takes seconds."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """The project before set-up."""
    project = Project(tmp_path / "a project")  # a space, as users have them
    project.write()
    return project


@pytest.fixture
def project(fresh: Project, bare_venv: Path) -> Project:
    """The project with an environment that holds no packages yet."""
    shutil.copytree(bare_venv, fresh.venv, symlinks=True)
    return fresh
