"""Which notebooks are found, and which a name means."""

from pathlib import Path

import pytest

from autograder.chapters import find_chapters, find_root, find_solutions, select_chapters
from autograder.names import UnknownNameError
from tests.autograder.book import Book


@pytest.fixture
def three(book: Book) -> Book:
    for name in ("ch01_agent", "ch02_cache", "ch02_cache_more"):
        book.source(name, "1")
    return book


def test_root_is_found_from_a_folder_inside(book: Book) -> None:
    inside = book.chapters / "deep"
    inside.mkdir()
    assert find_root(inside) == book.root


def test_root_is_the_repository_for_a_folder_outside(tmp_path: Path) -> None:
    assert find_root(tmp_path) == Path(__file__).parents[2]


def test_chapters_in_order_without_helpers_and_with_a_lone_ipynb(three: Book) -> None:
    (three.chapters / "_helper.py").touch()
    (three.chapters / "notes.txt").touch()
    (three.chapters / ".hidden.py").touch()
    (three.chapters / "ch00_lone.ipynb").touch()
    assert [path.name for path in find_chapters(three.root)] == [
        "ch00_lone.py",
        "ch01_agent.py",
        "ch02_cache.py",
        "ch02_cache_more.py",
    ]


def test_solutions_are_the_files_named_as_their_folder(book: Book) -> None:
    room = book.root / "solutions" / "ch01_ex1_lock"
    (room / "wrong").mkdir(parents=True)
    for name in ("ch01_ex1_lock.py", "acceptance.py", "wrong/slow.py"):
        (room / name).touch()
    assert find_solutions(book.root) == [room / "ch01_ex1_lock.py"]


@pytest.mark.parametrize(
    "name", ["ch01_agent", "ch01", "ch01_agent.ipynb", "chapters/ch01_agent.py", "chapters/ch01_agent.ipynb"]
)
def test_chapter_by_name_prefix_or_path(three: Book, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(three.root)
    assert select_chapters([name], three.root) == [three.chapters / "ch01_agent.py"]


def test_chapter_outside_the_workbook_by_path(three: Book) -> None:
    elsewhere = three.root / "trial.py"
    elsewhere.touch()
    assert select_chapters([str(elsewhere)], three.root) == [elsewhere]


def test_none_named_means_all_and_twice_named_means_once(three: Book) -> None:
    assert select_chapters([], three.root) == find_chapters(three.root)
    assert select_chapters(["ch01", "ch01_agent"], three.root) == [three.chapters / "ch01_agent.py"]


def test_whole_name_wins_over_a_longer_one(three: Book) -> None:
    assert select_chapters(["ch02_cache"], three.root) == [three.chapters / "ch02_cache.py"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ch09", "'ch09' is no chapter: ch01_agent, ch02_cache, ch02_cache_more"),
        ("ch02", "'ch02' fits several chapters: ch02_cache, ch02_cache_more"),
        ("", "'' is no chapter"),
    ],
)
def test_unknown_or_ambiguous_chapter(three: Book, name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        select_chapters([name], three.root)
    assert message in str(caught.value)


def test_no_chapters_at_all(book: Book) -> None:
    with pytest.raises(UnknownNameError, match="no chapters in"):
        select_chapters([], book.root)
