"""Reading submissions: whatever lies there is read or named, and nothing outside is touched."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from autograder.course import submissions
from autograder.course.submissions import read_submission

NAME = "ch01_ex9_toy"
SIMPLE = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "source": "x = 1"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "submitted" / "alice" / NAME
    made.mkdir(parents=True)
    return made


def hand_in(folder: Path, contents: Any) -> None:
    data = contents if isinstance(contents, bytes) else json.dumps(contents).encode()
    (folder / f"{NAME}.ipynb").write_bytes(data)


def test_a_notebook_is_read(folder: Path) -> None:
    hand_in(folder, SIMPLE)
    (folder / "data").mkdir()
    (folder / "data" / "x.csv").write_bytes(b"1,2")
    read = read_submission(folder, NAME)
    assert [cell.source for cell in read.cells] == ["x = 1"]
    assert read.files == {"data/x.csv": b"1,2"}
    assert read.problems == []
    assert read.submitted is None


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "not JSON"),
        (b"{nonsense", "not JSON"),
        (b"\xff\xfe\x00{}", "UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"nbformat": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b"[]", "not a notebook"),
        (b"{}", "not a notebook"),
        (b'{"nbformat": 3, "worksheets": []}', "format 4"),
        (b'{"nbformat": "4", "cells": []}', "format 4"),
        (b'{"nbformat": true, "cells": []}', "format 4"),
        (b'{"nbformat": 4}', "without cells"),
        (b'{"nbformat": 4, "cells": {"a": 1}}', "without cells"),
    ],
)
def test_what_is_no_notebook_is_named(folder: Path, contents: bytes, reason: str) -> None:
    hand_in(folder, contents)
    read = read_submission(folder, NAME)
    assert read.cells == []
    assert len(read.problems) == 1
    assert reason in read.problems[0]


def test_no_notebook_at_all(folder: Path) -> None:
    assert read_submission(folder, NAME).problems == [f"There is no {NAME}.ipynb."]


def test_a_byte_order_mark_is_no_fault(folder: Path) -> None:
    hand_in(folder, b"\xef\xbb\xbf" + json.dumps(SIMPLE).encode())
    assert read_submission(folder, NAME).problems == []


def test_a_huge_notebook_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "LARGEST_NOTEBOOK", 2**20)
    with (folder / f"{NAME}.ipynb").open("wb") as file:
        file.truncate(50 * 2**30)  # takes no room on the disk
    assert read_submission(folder, NAME).problems == [f"{NAME}.ipynb is larger than 1 MiB."]


def test_cells_that_are_none_are_left_out(folder: Path) -> None:
    cells: list[Any] = [None, 7, [], {}, {"cell_type": "video"}, {"cell_type": ["code"]}, {"cell_type": "code"}]
    cells += [{"cell_type": "code", "source": {"a": 1}}, {"cell_type": "code", "source": ["a", 1]}]
    cells += [{"cell_type": "raw", "source": ["a\n", "b"], "metadata": 3}]
    hand_in(folder, {**SIMPLE, "cells": cells})
    read = read_submission(folder, NAME)
    assert [(cell.kind, cell.source) for cell in read.cells] == [("code", ""), ("raw", "a\nb")]
    assert "1, 2, 3, 4, 5, 6, 8, 9" in read.problems[0]


@pytest.mark.parametrize("metadata", [None, 1, [], "x", {"nbgrader": 1}, {"nbgrader": []}, {"nbgrader": None}])
def test_hostile_metadata_claims_nothing(folder: Path, metadata: Any) -> None:
    hand_in(folder, {**SIMPLE, "cells": [{"cell_type": "code", "source": "", "metadata": metadata}]})
    assert [cell.grade_id for cell in read_submission(folder, NAME).cells] == [None]


@pytest.mark.parametrize("identity", [None, 1, [], {}, True])
def test_an_id_that_is_no_text_is_none(folder: Path, identity: Any) -> None:
    metadata = {"nbgrader": {"grade_id": identity}}
    hand_in(folder, {**SIMPLE, "cells": [{"cell_type": "code", "source": "", "metadata": metadata}]})
    assert read_submission(folder, NAME).cells[0].grade_id is None


def test_halves_of_characters_become_writable(folder: Path) -> None:
    hand_in(folder, b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "x = \'\\ud800\'"}]}')
    assert read_submission(folder, NAME).cells[0].source == "x = '?'"


def test_attachments_are_pictures_by_name(folder: Path) -> None:
    attachments = {"a.png": {"image/png": "AAAA", "x": 3}, "b": 4, "c": {"d": None}}
    cell = {"cell_type": "markdown", "source": "![](attachment:a.png)", "attachments": attachments}
    hand_in(folder, {**SIMPLE, "cells": [cell]})
    assert read_submission(folder, NAME).cells[0].attachments == {"a.png": {"image/png": "AAAA"}}


def test_pictures_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "LARGEST_PICTURES", 1000)
    sizes = [600, 600, 300, 200, 100]
    cells = [{"cell_type": "markdown", "source": "", "attachments": {"a": {"image/png": "A" * size}}} for size in sizes]
    hand_in(folder, {**SIMPLE, "cells": cells})
    read = read_submission(folder, NAME)
    kept = [len(cell.attachments["a"]["image/png"]) if cell.attachments else 0 for cell in read.cells]
    assert kept == [600, 0, 300, 0, 100]
    assert "2 cells lost theirs" in read.problems[0]


def test_too_many_cells(folder: Path) -> None:
    hand_in(folder, {**SIMPLE, "cells": SIMPLE["cells"] * 6000})  # type: ignore[operator]
    read = read_submission(folder, NAME)
    assert len(read.cells) == submissions.MOST_CELLS
    assert "6000 cells" in read.problems[0]


def test_links_and_special_files_are_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "gradebook.db"
    secret.write_text("everybody's grades")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "work.py").write_text("theirs")
    (folder / "honest.txt").write_text("mine")
    (folder / "book.db").symlink_to(secret)
    (folder / "others").symlink_to(tmp_path / "others")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    hand_in(folder, SIMPLE)
    read = read_submission(folder, NAME)
    assert read.files == {"honest.txt": b"mine"}
    for name in ("book.db", "others", "zero", "loop", "pipe"):
        assert f"'{name}'" in read.problems[0]


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_a_notebook_that_is_no_regular_file(folder: Path, tmp_path: Path, what: str) -> None:
    path = folder / f"{NAME}.ipynb"
    if what == "link":
        (tmp_path / "other.ipynb").write_text(json.dumps(SIMPLE))
        path.symlink_to(tmp_path / "other.ipynb")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
        (path / "file").write_text("x")
    read = read_submission(folder, NAME)
    assert read.cells == []
    assert len(read.problems) == 1


def test_a_folder_that_is_a_link_is_not_read(folder: Path, tmp_path: Path) -> None:
    hand_in(folder, SIMPLE)
    link = tmp_path / "link"
    link.symlink_to(folder)
    read = read_submission(link, NAME)
    assert read.cells == []
    assert read.files == {}


def test_files_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "LARGEST_FILES", 100)
    monkeypatch.setattr(submissions, "MOST_FILES", 3)
    (folder / "a").write_bytes(b"x" * 60)
    (folder / "b").write_bytes(b"x" * 60)
    for name in "cdef":
        (folder / name).write_bytes(b"")
    (folder / "z").mkdir()
    deep = folder / "z" / "/".join("y" * 20)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    read = read_submission(folder, NAME)
    assert sorted(read.files) == ["a", "c", "d"]
    assert "'b' is larger" in read.problems[1]


def test_a_name_that_is_no_text(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()
    read = read_submission(folder, NAME)
    assert read.files == {}
    assert "not text" in read.problems[1]


@pytest.mark.parametrize(
    ("text", "hour"), [("2026-01-02 03:04:05 UTC", 3), ("2026-01-02 03:04:05", 3), ("2026-01-02T03:04:05+02:00", 1)]
)
def test_the_time_of_collection(folder: Path, text: str, hour: int) -> None:
    hand_in(folder, SIMPLE)
    (folder / "timestamp.txt").write_text(text)
    read = read_submission(folder, NAME)
    assert read.submitted is not None
    assert (read.submitted.hour, read.submitted.tzinfo) == (hour, None)
    assert read.files == {}


@pytest.mark.parametrize("data", [b"", b"soon", b"\xff", b"9" * 400, b"1 2 3", b"0000-00-00", b"x" * 10_000])
def test_a_time_that_is_none(folder: Path, data: bytes) -> None:
    hand_in(folder, SIMPLE)
    (folder / "timestamp.txt").write_bytes(data)
    read = read_submission(folder, NAME)
    assert read.submitted is None
    assert "timestamp.txt" in read.problems[0]


def test_the_digest_is_of_all_that_was_handed_in(folder: Path) -> None:
    digests = set()
    hand_in(folder, SIMPLE)
    digests.add(read_submission(folder, NAME).digest)
    (folder / "a").write_text("b")
    digests.add(read_submission(folder, NAME).digest)
    (folder / "a").write_text("c")
    digests.add(read_submission(folder, NAME).digest)
    (folder / "a").rename(folder / "b")
    digests.add(read_submission(folder, NAME).digest)
    hand_in(folder, {**SIMPLE, "metadata": {"x": 1}})
    digests.add(read_submission(folder, NAME).digest)
    assert len(digests) == 5
    (folder / "timestamp.txt").write_text("2026-01-02 03:04:05 UTC")
    dated = read_submission(folder, NAME)
    assert dated.digest in digests, "the work is the same, whenever it was handed in"
    assert dated.submitted is not None
