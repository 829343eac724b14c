"""Notebooks executed in boxes: outputs as a real kernel's, and nothing that a cell does stops the run."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import nbclient
import nbformat
import pytest
from papermill.engines import papermill_engines

from autograder.asker import AnswerRaised, BoxAsker, WorkerLost
from autograder.library import worker_library
from autograder.outputs import MAX_OUTPUT, TRUNCATED
from autograder.sandboxed import ENGINE, CellRun, Execution, SandboxEngine, execute_notebook
from tests.system import unavailable
from workbook.sandbox.isolation.box import Box
from workbook.sandbox.isolation.cells import DIED, MALFORMED, TIMED_OUT
from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.isolation.server import ForkServer, available


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    if reason := available():
        unavailable(reason)
    with ForkServer("autograder.worker", library=worker_library(())) as server:
        yield server


@pytest.fixture
def box(server: ForkServer) -> Iterator[Box]:
    with server.box() as box:
        yield box


def notebook(*sources: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def execution(
    box: Box,
    *,
    timeout: float = 60,
    skip: Callable[[Any], bool] = lambda cell: False,
) -> Execution:
    return Execution(box, skip=skip, cell_timeout=timeout, timeout=600)


def execute(box: Box, nb: Any, timeout: float = 60) -> Execution:
    """Executes a notebook, and checks what holds whatever is in it."""
    this = execution(box, timeout=timeout)
    execute_notebook(nb, this)
    nbformat.validate(nb)
    nbformat.writes(nb).encode()
    return this


def names(cell: Any) -> list[str]:
    """A cell's outputs, each in a word."""
    return [output.get("ename") or output.get("text") or output["data"]["text/plain"] for output in cell.outputs]


CELLS = [
    "print('a'); 6 * 7",
    "import sys\nprint('out'); print('err', file=sys.stderr)",
    "import warnings; warnings.warn('careful')",
    "def f(n): return f(n - 1) if n else 1 / 0\nf(2)",
    "try: 1 / 0\nexcept ZeroDivisionError as cause: raise ValueError('with a cause') from cause",
    "raise SystemExit(3)",
    "1 +",
    "class Rich:\n    def _repr_html_(self): return '<b>x</b>'\n    def __repr__(self): return 'x'\nRich()",
    "class Bad:\n    def __repr__(self): raise KeyError('k')\nBad()",
    "from IPython.display import *\nhandle = display(HTML('one'), display_id='shown')",
    "handle.update(HTML('two'))",
    "for i in range(3):\n    clear_output(wait=True); print(i)",
    "print('gone'); clear_output(); print('stays'); display(JSON({'a': [1, None]}), Markdown('# b'))",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])",
    "%matplotlib inline\nfig, ax = plt.subplots(); ax.plot([1]); plt.show(); print('after')",
    "!echo shell; exit 3",
    "%%bash\necho bash; echo error >&2",
    "%%capture captured\nprint('hidden')",
    "captured.stdout, _exit_code",
    "import asyncio\nawait asyncio.sleep(0); 'awaited'",
    "asyncio.run(asyncio.sleep(0))",
    "await asyncio.gather(*[asyncio.sleep(0, n) for n in range(3)])",
    "import threading\nthread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()",
    "import pickle\nclass Own: pass\ntype(pickle.loads(pickle.dumps(Own()))).__name__",
    "import inspect; print(inspect.getsource(f))",
    "len?",
    "%no_such_magic",
    "%%no_such_magic\nx",
    "Out[1], In[1], __name__, get_ipython().__class__.__name__",
    "open('made.txt', 'w').write('text'); open('made.txt').read()",
    "raise BaseExceptionGroup('all', [ValueError(1), KeyboardInterrupt()])",
    "list(range(200))",
    "import logging; logging.basicConfig(level='INFO', force=True); logging.info('logged')",
]


def comparable(outputs: list[Any]) -> list[Any]:
    """Outputs without what differs from run to run, and each stream's pieces in one."""
    found: list[Any] = []
    for output in outputs:
        text = re.sub(r"0x[0-9a-f]+", "0x0", json.dumps(output))
        text = re.sub(r"ipykernel_\d+", "ipykernel", text)
        text = re.sub(r"(~|/root|/home/\w+)(/[\w.]+)*/lib/python", "lib/python", text)
        plain = json.loads(text)
        last = found[-1] if found else {}
        if plain["output_type"] == last.get("output_type") == "stream" and plain["name"] == last["name"]:
            last["text"] += plain["text"]
        else:
            found.append(plain)
    return found


def test_outputs_are_those_of_a_real_kernel(box: Box, tmp_path: Any) -> None:
    real, sandboxed = notebook(*CELLS), notebook(*CELLS)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(real, kernel_name="python3", allow_errors=True, timeout=120, resources=resources).execute()
    assert execute(box, sandboxed).died is None
    for wanted, got in zip(real.cells, sandboxed.cells, strict=True):
        assert comparable(got.outputs) == comparable(wanted.outputs), got.source
        assert got.execution_count == wanted.execution_count


def test_the_engine_is_papermills() -> None:
    assert papermill_engines.get_engine(ENGINE) is SandboxEngine


def test_errors_and_timeouts_do_not_stop_the_run(box: Box) -> None:
    nb = notebook("x = 1", "1 / 0", "import time; time.sleep(60)", "", "print(x)")
    this = execute(box, nb, timeout=1)
    assert [names(cell) for cell in nb.cells] == [
        [],
        ["ZeroDivisionError"],
        ["KeyboardInterrupt", TIMED_OUT],
        [],
        ["1\n"],
    ]
    assert [(run.index, run.error) for run in this.cells] == [
        (0, None),
        (1, "ZeroDivisionError"),
        (2, TIMED_OUT),
        (4, None),
    ]
    assert this.died is None
    assert nb.cells[2].outputs[1].evalue == "it took longer than 1 s"
    assert [cell.execution_count for cell in nb.cells] == [1, 2, 3, None, 4]


def test_papermill_notes_how_each_cell_ran(box: Box) -> None:
    nb = notebook("1", "1 / 0", "2")
    nb.cells.append(nbformat.v4.new_markdown_cell("text"))
    nb.metadata["papermill"] = "not papermill's"
    execute(box, nb)
    notes = [cell.metadata.papermill for cell in nb.cells]
    assert [note["status"] for note in notes] == ["completed", "failed", "completed", "completed"]
    assert [note["exception"] for note in notes] == [False, True, False, False]
    assert all(note["duration"] >= 0 for note in notes)
    assert nb.metadata.papermill["exception"] is True
    assert nb.metadata.papermill["duration"] > 0


def test_old_outputs_go_and_skipped_cells_are_not_executed(box: Box) -> None:
    nb = notebook("x = 1", "x = 2", "x")
    for cell in nb.cells:
        cell.outputs = [nbformat.v4.new_output("stream", text="old")]
        cell.execution_count = 9
    this = execution(box, skip=lambda cell: cell.source == "x = 2")
    execute_notebook(nb, this)
    assert [names(cell) for cell in nb.cells] == [[], [], ["1"]]
    assert [cell.execution_count for cell in nb.cells] == [1, None, 2]
    assert [run.index for run in this.cells] == [0, 2]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(0)", "exit status 0"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("memory = bytearray(400 << 20)", "out of memory"),
        ("import os\nwhile True: os.write(2, b'x' * 65536)", "wrote more than 8 MiB"),
    ],
)
def test_after_a_death_each_code_cell_says_so(server: ForkServer, code: str, reason: str) -> None:
    nb = notebook("print('fine')", code, "print('never')", "", "also never")
    nb.cells.insert(3, nbformat.v4.new_markdown_cell("text"))
    with server.box(Limits(memory=256 << 20, output=8 << 20)) as box:
        if reason == "out of memory" and "memory" not in box.group.folders:
            unavailable("no control group bounds memory here")
        this = execute(box, nb)
    assert names(nb.cells[0]) == ["fine\n"]
    assert nb.cells[1].outputs[-1].evalue == reason
    assert [names(cell) for cell in nb.cells[2:] if cell.cell_type == "code"] == [[DIED], [], [DIED]]
    assert nb.cells[2].outputs[0].evalue == f"not executed: the process had ended before ({reason}, in cell 2)"
    assert this.died == f"{reason}, in cell 2"
    assert [run.error for run in this.cells] == [None, DIED]
    assert all(len(json.dumps(cell)) < 3 * MAX_OUTPUT for cell in nb.cells)


def test_a_cell_that_cannot_be_interrupted_costs_the_rest(box: Box) -> None:
    nb = notebook("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", "1")
    this = execute(box, nb, timeout=0.5)
    assert [names(cell) for cell in nb.cells] == [[TIMED_OUT], [DIED]]
    assert this.died == "it took longer than 0.5 s and did not stop then, in cell 1"


def test_a_flood_is_cut_and_the_rest_runs(box: Box) -> None:
    nb = notebook("while True: print('x' * 60)", "for _ in range(1000): display('x' * 5000)", "print('on')")
    execute(box, nb, timeout=2)
    text = nb.cells[0].outputs[0].text
    assert text.endswith(TRUNCATED)
    assert MAX_OUTPUT // 2 < len(text) < 2 * MAX_OUTPUT
    assert names(nb.cells[0])[1:] == ["KeyboardInterrupt", TIMED_OUT]
    assert nb.cells[1].outputs[-1].text == TRUNCATED
    assert names(nb.cells[2]) == ["on\n"]


FORGE = """
import gc
from workbook.sandbox.isolation.channel import Channel
channel, = [thing for thing in gc.get_objects() if type(thing) is Channel]
def forge(kind, **content): channel.send({"message": {"msg_type": kind, "content": content}})
"""


@pytest.mark.parametrize(
    "forged",
    [
        "forge('execute_result', data={'text/plain': 5}, metadata={}, execution_count='x')",
        "forge('display_data', data={'text/plain': 'x'}, metadata={}, transient={'display_id': [1]})",
        "forge('no such kind')",
        "channel.send({'done?': 1})",
        "channel.send({'message': {'msg_type': 'error', 'content': {'ename': [], 'evalue': '', 'traceback': []}}})",
        "import os; os.write(channel.fileno(), bytes(range(256)))",
    ],
)
def test_forged_messages_make_an_error_of_the_cell_and_a_valid_notebook(box: Box, forged: str) -> None:
    nb = notebook(FORGE, forged, "1")
    execute(box, nb)
    assert nb.cells[1].outputs[-1].ename == MALFORMED
    assert "\n" not in nb.cells[1].outputs[-1].evalue


HALF = r"""
import os, struct
text = b'{"message": {"msg_type": "stream", "content": {"name": "stdout", "text": "\xed\xa0\x80"}}}'
os.write(channel.fileno(), struct.pack("!II", len(text), 0) + text)
"""


def test_half_a_character_makes_a_notebook_that_can_be_written(box: Box) -> None:
    execute(box, notebook(FORGE, HALF, "1"))


def test_a_forged_end_gains_nothing(box: Box) -> None:
    nb = notebook(FORGE, "channel.send({'done': {'error': None, 'execution_count': 77}}); 1 / 0", "print('next')", "1")
    this = execute(box, nb)
    assert nb.cells[1].execution_count == 77
    assert len(this.cells) == 4


def test_the_judge_asks_the_same_process(box: Box) -> None:
    nb = notebook(
        "class Counter:\n    n = 0\n    def add(self, k): self.n += k; print('added'); return self.n", "1 / 0"
    )
    execute(box, nb)
    asker = BoxAsker(box)
    with asker.deadline(60):
        counter = asker.ask("new", "Counter")
        assert [asker.ask("call", counter, "add", [k]) for k in (1, 2)] == [1, 3]
        with pytest.raises(AnswerRaised, match="NameError"):
            asker.ask("call", "missing")


def test_a_question_can_be_interrupted(box: Box) -> None:
    execute(box, notebook("def forever():\n    while True: pass\ndef quick(): return 5"))
    asker = BoxAsker(box)
    with pytest.raises(WorkerLost), asker.deadline(0.5):
        asker.ask("call", "forever")
    box.interrupt()
    answer, _ = box.receive(60)
    assert answer["error"]["names"][0] == "KeyboardInterrupt"
    with asker.deadline(60):
        asker.lost = ""
        assert asker.ask("call", "quick") == 5


def test_a_box_that_is_dead_already(server: ForkServer) -> None:
    with server.box() as box:
        pass
    nb = notebook("1", "2")
    this = execute(box, nb)
    assert [names(cell) for cell in nb.cells] == [[DIED], [DIED]]
    assert this.cells == [CellRun(0, DIED, this.cells[0].seconds, "closed")]
