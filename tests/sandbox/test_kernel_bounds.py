"""The executor against output without end, and against messages that a cell forges."""

import asyncio
import threading
import time

import nbformat.v4
import psutil
import pytest

from tests.sandbox.kernels import FORGE, QUICK
from workbook.sandbox import process
from workbook.sandbox.kernel import AsyncKernel, Kernel, Message
from workbook.sandbox.outputs import TRUNCATED

# Output without end


def test_200_000_lines_neither_hang_nor_fill_memory(kernel: Kernel) -> None:
    before = psutil.Process().memory_info().rss
    result = kernel.execute("for i in range(200_000): print(i)", timeout=120)
    assert (result.status, result.truncated) == ("ok", True)
    assert result.text.startswith("0\n1\n2\n")
    assert result.text.endswith(TRUNCATED)
    assert len(result.text) <= QUICK.output_bytes + len(TRUNCATED) + 1
    assert psutil.Process().memory_info().rss - before < 200 * 2**20
    assert kernel.execute("1 + 1").text == "2"


def test_a_flood_of_messages_is_capped(kernel: Kernel) -> None:
    code = "from IPython.display import display\nfor i in range(3_000): display(i)"
    result = kernel.execute(code, timeout=200)
    assert (result.status, result.truncated, len(result.outputs)) == ("ok", True, QUICK.outputs)
    assert result.text == "\n".join(map(str, range(QUICK.outputs))) + "\n" + TRUNCATED
    cut = kernel.execute("while True: display(1)", timeout=0.5)
    assert (cut.status, cut.state_lost) == ("timeout", False)


def test_a_flood_does_not_starve_the_event_loop() -> None:
    async def main() -> None:
        ticks, at_message = 0, []

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        def slow(_: Message) -> None:  # slower than the kernel, so that there is always a message waiting
            time.sleep(0.002)
            at_message.append(ticks)

        async with AsyncKernel() as kernel:
            ticking = asyncio.create_task(tick())
            await kernel.execute("for i in range(1000): display(i)", timeout=100, on_message=slow)
            ticking.cancel()
        assert at_message[800] - at_message[200] >= 5  # at least one a batch

    asyncio.run(main())


def test_a_flood_of_large_messages_does_not_fill_memory(kernel: Kernel) -> None:
    # 8 GB, made once and sent again and again, as fast as the transport takes it.
    code = (
        FORGE
        + "import zmq\nmessage = session.msg('stream', {'name': 'stdout', 'text': 'x' * 40_000_000}, parent=parent)\n"
        "frames, socket = session.serialize(message), zmq.Socket.shadow(iopub.socket.underlying)\n"
        "for _ in range(200): socket.send_multipart(frames, copy=False)"
    )
    before, peak, done = psutil.Process().memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, psutil.Process().memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = kernel.execute(code, timeout=60)
    finally:
        done.set()
        watcher.join()
    assert (result.status, result.truncated) == ("ok", True)
    assert 2**20 < peak < 1.5 * 2**30
    assert kernel.execute("1 + 1").text == "2"


def test_an_enormous_line_display_value_and_error(kernel: Kernel) -> None:
    line = kernel.execute("print('x' * 20_000_000)", timeout=60)
    assert (line.status, line.truncated) == ("ok", True)
    assert line.text == "x" * QUICK.output_bytes + TRUNCATED
    error = kernel.execute("raise ValueError('x' * 5_000_000)", timeout=60)
    assert (error.status, error.truncated) == ("error", True)
    assert len(error.text) < QUICK.output_bytes + 100
    shown = kernel.execute("display({'text/plain': 'x' * 50_000_000}, raw=True)\nprint('and more')", timeout=60)
    assert (shown.status, shown.truncated, shown.text) == ("ok", True, TRUNCATED)
    assert kernel.execute("1 + 1").text == "2"


def test_a_message_too_long_to_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LONGEST_MESSAGE", 2**20)
    with Kernel(limits=QUICK) as kernel:
        kernel.execute("x = 1")
        shown = kernel.execute("print('before', flush=True); display({'text/plain': 'x' * 5_000_000}, raw=True)")
        assert (shown.status, shown.truncated, shown.text) == ("ok", True, "before\n" + TRUNCATED)
        assert kernel.execute("print(x); x").text == "1\n1"  # the channel that it broke is whole again
        lost = kernel.execute("raise ValueError('x' * 5_000_000)", timeout=2)  # the reply is too long as well
        assert lost.state_lost
        assert kernel.execute("1 + 1").text == "2"


# Forgery: a cell can say what it likes, and only that


def test_malformed_messages_are_passed_over(kernel: Kernel) -> None:
    contents = [
        ("stream", {"name": 3, "text": []}),
        ("stream", {}),
        ("display_data", {"data": 7}),
        ("display_data", {"data": {"text/plain": 7, "image/png": {}}, "metadata": 3, "transient": []}),
        ("execute_result", {"data": {"text/plain": None}, "execution_count": "x"}),
        ("update_display_data", {"data": {}, "transient": {"display_id": []}}),
        ("error", {"ename": {}, "traceback": 7}),
        ("execute_input", {"execution_count": []}),
        ("status", {"execution_state": []}),
        ("comm_open", {}),
        ("no_such_type", {}),
    ]
    code = (
        FORGE + f"for kind, content in {contents!r}: publish(kind, content)\n"
        "head = session.pack(session.msg_header('stream')); mine = session.pack(parent['header'])\n"
        "publish_raw(b'[]', b'[]', b'{}', b'{}')\n"
        "publish_raw(b'[' * 100_000, b'{}', b'{}', b'{}')\n"
        'publish_raw(b\'{"msg_id":{},"msg_type":[],"version":"4.0"}\', b\'{"msg_id":[]}\', b\'{}\', b\'{\')\n'
        "for content in (b'[' * 100_000, b'\"x\"', b'', b'\\xff'): publish_raw(head, mine, b'{}', content)\n"
        "iopub.send_multipart([b'']); iopub.send_multipart([b'topic', b'<IDS|MSG>'])\n"
        "iopub.send_multipart([b'topic', b'<IDS|MSG>', b'not signed', head, mine, b'{}', b'{}'])\n"
        "print('end')"
    )
    result = kernel.execute(code)
    assert (result.status, result.outputs[-1]) == ("ok", {"output_type": "stream", "name": "stdout", "text": "end\n"})
    nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=result.outputs)]))
    assert kernel.execute("1 + 1").text == "2"


def test_forged_messages_stay_with_the_cell_that_sent_them(kernel: Kernel) -> None:
    early = kernel.execute(
        FORGE + "import time\nfirst = dict(parent)\n"
        "session.send(kernel.shell_stream if hasattr(kernel, 'shell_stream') else kernel.shell_streams[0],"
        " 'execute_reply', {'status': 'ok', 'payload': 7}, parent=parent, ident=kernel._parent_ident['shell'])\n"
        "publish('status', {'execution_state': 'idle'})\ntime.sleep(1.5); print('too late')"
    )
    assert (early.status, early.text) == ("ok", "")  # it wanted to end early: it did
    result = kernel.execute(
        FORGE
        + "for other in (first, {}, {'msg_id': 'nonsense'}): publish('stream', {'name': 'stdout', 'text': 'other'},"
        " parent=other)\nprint('mine')"
    )
    assert result.text == "mine"
