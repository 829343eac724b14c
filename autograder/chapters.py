"""Where the notebooks are, and which of them a command line means."""

from collections.abc import Sequence
from pathlib import Path

from autograder.names import UnknownNameError, pick


def find_root(start: Path | None = None) -> Path:
    """Returns the workbook's folder: the nearest one up from `start` (the current folder), else the package's.

    Raises:
        FileNotFoundError: Neither is inside a workbook, a folder with `chapters/` and `pyproject.toml`.
    """
    here = (start or Path.cwd()).resolve()
    package = Path(__file__).resolve().parents[1]
    for folder in (here, *here.parents, package):
        if (folder / "chapters").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise FileNotFoundError(f"no workbook (a folder with chapters/ and pyproject.toml) at or above {here}")


def find_chapters(root: Path) -> list[Path]:
    """Returns the chapters' `.py` paths, by name, also where only the `.ipynb` exists: it must not be overlooked."""
    return _sources(root / "chapters")


def find_solutions(root: Path) -> list[Path]:
    """Returns the `.py` paths of the exercises' sources: the file named as its folder in `solutions/`."""
    folders = sorted(path for path in (root / "solutions").glob("*") if path.is_dir())
    return [source for folder in folders for source in _sources(folder) if source.stem == folder.name]


def _sources(folder: Path) -> list[Path]:
    files = [path for path in folder.glob("*") if path.suffix in (".py", ".ipynb") and path.name[0] not in "._"]
    return sorted({path.with_suffix(".py") for path in files})


def select_chapters(names: Sequence[str], root: Path) -> list[Path]:
    """Returns the `.py` paths of the chapters that are meant, each once, in the order given; all where none is named.

    Args:
        names: A chapter's name, a prefix that fits one chapter only (`ch01`), or the path of its `.py` or `.ipynb`.
        root: The workbook's folder.

    Raises:
        UnknownNameError: A name fits no chapter or several; the message lists them.
    """
    chapters = find_chapters(root)
    if not names:
        if not chapters:
            raise UnknownNameError(f"no chapters in {root / 'chapters'}")
        return chapters
    return list(dict.fromkeys(_select(name, chapters) for name in names))


def _select(name: str, chapters: list[Path]) -> Path:
    path = Path(name)
    if path.suffix in (".py", ".ipynb") and path.is_file():
        return path.resolve().with_suffix(".py")
    by_name = {chapter.stem: chapter for chapter in chapters}
    return by_name[pick(path.stem if path.suffix in (".py", ".ipynb") else name, list(by_name), "chapter")]
