"""What the recorded agent decides: scripts, not a model. Each is a task, read from what the tools really answer.

A script yields decisions (a thought and a call) and is sent what the tool answered; it returns its final answer. Which
files it looks at, and in which order, it takes from those answers and from a seeded generator. Its mistakes are made on
purpose (a path guessed, a pattern not closed, a program with a bug, one that does not end), and what they lead to is
real.
"""

import random
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decision:
    """What the agent does next: the words it says, the tool it calls, and with what."""

    thought: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Observation:
    """What came of it."""

    ok: bool
    text: str


Script = Generator[Decision, Observation, str]


def census(rng: random.Random) -> Script:
    """Counts functions, module by module, and finds the longest ones."""
    todo = ["list the modules", "read them", "count their functions", "write the report"]
    yield Decision("I start with a plan.", "todo_write", {"items": todo})
    modules = list[str]()
    for folder in ("workbook", "workbook/serving", "workbook/sandbox"):
        listing = yield Decision(f"Which modules are in {folder}?", "file_list", {"folder": folder})
        modules += [f"{folder}/{name}" for name in re.findall(r"^(\w+\.py) ", listing.text, re.M) if name[0] != "_"]
    rng.shuffle(modules)
    counts = dict[str, str]()
    for number, module in enumerate(modules[:22], 1):
        seen = yield Decision(f"I read {module}.", "file_read", {"path": module})
        if "more lines" in seen.text and rng.random() < 0.4:
            yield Decision("Its second part.", "file_read", {"path": module, "first": 121})
        if number == 3:
            code = f"import ast\nprint(len(ast.parse({module!r}).body))"
            yield Decision("I count with ast.", "python_run", {"code": code + "\nprint(functions)"})
            yield Decision("I had not read the file, nor named what I print. Again.", "python_run", _count(module))
        counted = yield Decision(f"Functions of {module}?", "python_run", _count(module))
        counts[module] = counted.text.replace("\n", " ")
        if number % 8 == 0:
            test = "tests/test_" + module.rpartition("/")[2]
            yield Decision(f"Its tests should be {test}.", "file_read", {"path": test})
            text = "\n".join(f"{name}: {found}" for name, found in counts.items())
            yield Decision("I keep what I have.", "file_write", {"path": "notes/census.md", "text": text})
            yield Decision("The plan as it stands.", "todo_write", {"items": [*todo[2:], f"{number} modules done"]})
    text = "\n".join(f"{name}: {found}" for name, found in sorted(counts.items()))
    yield Decision("The report.", "file_write", {"path": "notes/census.md", "text": text})
    return f"I counted the functions of {len(counts)} modules; notes/census.md has them."


def _count(module: str) -> dict[str, Any]:
    return {
        "code": f"import ast, pathlib\ntree = ast.parse(pathlib.Path({module!r}).read_text())\n"
        "sizes = {n.name: n.end_lineno - n.lineno + 1 for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}\n"
        "print(len(sizes), 'functions, the longest', sorted(sizes.items(), key=lambda i: -i[1])[:3])"
    }


def environment(rng: random.Random) -> Script:
    """Finds out which environment variables the code reads and sets, and where."""
    todo = ["find where the environment is used", "read each place", "make a table"]
    yield Decision("I start with a plan.", "todo_write", {"items": todo})
    yield Decision("Who uses os.environ?", "file_search", {"pattern": "os.environ[(", "folder": "workbook"})
    found = yield Decision(
        "The bracket was not closed.", "file_search", {"pattern": r"os\.environ", "folder": "workbook"}
    )
    names = yield Decision(
        "Names are in capitals.", "file_search", {"pattern": r'"[A-Z]+_[A-Z_]+"', "folder": "workbook"}
    )
    places = re.findall(r"^(\S+?):(\d+):", found.text + "\n" + names.text, re.M)
    rng.shuffle(places)
    table = dict[str, str]()
    for number, (path, line) in enumerate(places[:37], 1):
        around = max(int(line) - 25, 1)
        seen = yield Decision(f"What stands at {path}:{line}?", "file_read", {"path": path, "first": around})
        for name in re.findall(r'"([A-Z]+_[A-Z_]+)"', seen.text):
            table.setdefault(name, f"{path}:{line}")
        if number % 9 == 0:
            name = rng.choice(sorted(table) or ["HOME"])
            yield Decision(
                f"Do the documents say anything of {name}?", "file_search", {"pattern": name, "folder": "docs"}
            )
            yield Decision("The plan as it stands.", "todo_write", {"items": [*todo[1:], f"{len(table)} names found"]})
        if number == 12:
            yield Decision("Is there a page on settings?", "file_read", {"path": "docs/settings.md"})
            yield Decision("Which pages are there?", "file_list", {"folder": "docs"})
    text = "\n".join(f"| {name} | {place} |" for name, place in sorted(table.items()))
    yield Decision("The table.", "file_write", {"path": "notes/environment.md", "text": text})
    check = "print(len(open('notes/environment.md').read().splitlines()), 'names')"
    yield Decision("Is it complete?", "python_run", {"code": check})
    return f"The code names {len(table)} variables; notes/environment.md says where."


def exceptions(rng: random.Random) -> Script:
    """Draws the tree of exception classes, and looks where each is raised."""
    todo = ["find the classes", "see where they are raised", "draw the tree"]
    yield Decision("I start with a plan.", "todo_write", {"items": todo})
    found = yield Decision("All exceptions.", "file_search", {"pattern": r"^class \w+Error\(", "folder": "workbook"})
    classes = re.findall(r"^(\S+?):(\d+):class (\w+)\((\w+)", found.text, re.M)
    rng.shuffle(classes)
    tree = dict[str, str]()
    for number, (path, line, name, base) in enumerate(classes[:20], 1):
        tree[name] = base
        around = max(int(line) - 5, 1)
        yield Decision(f"{name} in its place.", "file_read", {"path": path, "first": around})
        yield Decision(f"Where is {name} raised?", "file_search", {"pattern": rf"raise {name}\(", "folder": "workbook"})
        if number % 5 == 0:
            tests = {"pattern": name, "folder": "tests"}
            yield Decision(f"Is {name} tested?", "file_search", tests)
            yield Decision("The plan as it stands.", "todo_write", {"items": [*todo[1:], f"{number} classes seen"]})
        if number == 7:
            # It does not end: the loop never moves on.
            code = (
                "import pathlib\npaths = list(pathlib.Path('workbook').rglob('*.py'))\n"
                "while paths:\n    paths[0].read_text()"
            )
            yield Decision("How often is each raised?", "python_run", {"code": code})
            code = (
                "import pathlib, re, collections\n"
                "text = ''.join(p.read_text() for p in pathlib.Path('workbook').rglob('*.py'))\n"
                "print(collections.Counter(re.findall(r'raise (\\w+Error)', text)).most_common(20))"
            )
            yield Decision("The loop never moved on. Simpler.", "python_run", {"code": code})
    text = "\n".join(f"{base} <- {name}" for name, base in sorted(tree.items(), key=lambda pair: pair[::-1]))
    yield Decision("The tree.", "file_write", {"path": "notes/exceptions.md", "text": text})
    return f"{len(tree)} exceptions; notes/exceptions.md draws their tree."


def documents(rng: random.Random) -> Script:
    """Checks whether what the documents say of commands and files is so."""
    todo = ["read the documents", "collect commands and paths", "check each", "write what is wrong"]
    yield Decision("I start with a plan.", "todo_write", {"items": todo})
    listing = yield Decision("Which documents are there?", "file_list", {"folder": "docs"})
    pages = [
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{name}" for name in re.findall(r"^(\S+\.md) ", listing.text, re.M)),
    ]
    paths, commands = set[str](), set[str]()
    for page in pages:
        first = 1
        while True:
            seen = yield Decision(f"{page}, from line {first}.", "file_read", {"path": page, "first": first})
            paths |= set(re.findall(r"`((?:workbook|docs|tests)/[\w/.]+)`", seen.text))
            commands |= set(re.findall(r"make ([a-z-]+)", seen.text))
            if "more lines" not in seen.text or first > 480:
                break
            first += 120
    wrong = list[str]()
    ordered = sorted(paths)
    rng.shuffle(ordered)
    for number, path in enumerate(ordered[:30], 1):
        folder = path.endswith("/") or "." not in path.rpartition("/")[2]
        call = ("file_list", {"folder": path}) if folder else ("file_read", {"path": path})
        seen = yield Decision(f"Is there {path}?", *call)
        if not seen.ok:
            wrong.append(path)
            name = path.rstrip("/").rpartition("/")[2]
            yield Decision("Then where is it?", "file_search", {"pattern": re.escape(name), "folder": "."})
        if number % 8 == 0:
            yield Decision("The plan as it stands.", "todo_write", {"items": [*todo[2:], f"{number} paths checked"]})
    for command in sorted(commands)[:12]:
        target = {"pattern": f"^{command}:", "folder": "Makefile.d"}
        if command == sorted(commands)[0]:
            yield Decision(f"Where is make {command}?", "file_search", target)
        yield Decision(f"make {command}?", "file_search", {"pattern": f"^{command}:", "folder": "."})
    text = "\n".join(f"- {path}" for path in wrong) or "nothing is wrong"
    yield Decision("What is wrong.", "file_write", {"path": "notes/documents.md", "text": text})
    return f"I checked {len(ordered)} paths and {len(commands)} commands; {len(wrong)} paths are not there."


SCRIPTS: dict[str, Callable[[random.Random], Script]] = {
    "census": census,
    "environment": environment,
    "exceptions": exceptions,
    "documents": documents,
}
