"""Kernels that start or do not, callers that leave, and what stays behind: nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq

from tests.sandbox.kernels import QUICK, ROOT, SLEEP, STUBBORN, is_running, nothing_left, once_begun, wait_until
from workbook.sandbox.kernel import AsyncKernel, Kernel, KernelError, Limits, Message, Result

# Callers that leave


@pytest.mark.parametrize(("code", "survives"), [("import time; time.sleep(60)", True), (STUBBORN, False)])
def test_a_cancelled_call_does_not_leave_the_kernel_busy(code: str, survives: bool) -> None:
    async def main() -> None:
        async with AsyncKernel(limits=QUICK) as kernel:
            await kernel.execute("kept = 'kept'")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kernel.execute(code, timeout=100), 0.5)
            after = await kernel.execute("'kept' in globals()")
            assert (after.text, after.seconds < 5) == (str(survives), True)

    asyncio.run(main())


def test_a_call_cancelled_twice_kills_the_kernel() -> None:
    async def main() -> None:
        async with AsyncKernel(limits=Limits(interrupt_grace=60)) as kernel:
            call = asyncio.create_task(kernel.execute(STUBBORN, timeout=100))
            pid = kernel.pid
            for _ in range(2):
                await asyncio.sleep(0.3)
                call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(call, 20)
            assert pid is not None
            assert not is_running(pid)
            assert (await kernel.execute("1 + 1")).text == "2"

    asyncio.run(main())


def test_a_hook_that_raises(kernel: Kernel) -> None:
    def hook(message: Message) -> None:
        if message.type == "stream":
            raise LookupError("from the hook")

    kernel.execute("kept = 'kept'")
    with pytest.raises(LookupError, match="from the hook"):
        kernel.execute(SLEEP, timeout=100, on_message=hook)
    assert kernel.execute("kept").text == "'kept'"


def test_ctrl_c_interrupts_the_cell(kernel: Kernel) -> None:
    kernel.execute("kept = 'kept'")
    with pytest.raises(KeyboardInterrupt):
        kernel.execute(SLEEP, timeout=100, on_message=once_begun(lambda: os.kill(os.getpid(), signal.SIGINT)))
    after = kernel.execute("kept")
    assert (after.text, after.seconds < 10) == ("'kept'", True)


# Beginning and end


def test_two_kernels_at_once_and_many_starts_in_parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def one(i: int) -> str:
        async with AsyncKernel() as kernel:
            await kernel.execute(f"x = {i}")
            return (await kernel.execute("x")).text

    async def main() -> list[str]:
        return await asyncio.gather(*map(one, range(5)))

    with nothing_left(tmp_path, monkeypatch):
        assert asyncio.run(main()) == [str(i) for i in range(5)]


def test_closing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch):
        kernel = Kernel(limits=QUICK)
        assert kernel.pid is None
        children = kernel.execute(
            "import subprocess\nfor new in (False, True):\n"
            "    print(subprocess.Popen(['sleep', '300'], start_new_session=new).pid)"
        ).text
        kernel.execute(STUBBORN, timeout=0.1)  # takes a kernel and both its children with it
        kernel.execute("print('x' * 1000)\nimport subprocess; subprocess.Popen(['sleep', '300'])")
        kernel.close()
        kernel.close()
        assert len(children.split()) == 2
        assert not any(is_running(int(pid)) for pid in children.split())
        with pytest.raises(KernelError, match="closed"):
            kernel.execute("1")
        with pytest.raises(KernelError, match="closed"):
            kernel.restart()


def test_closing_in_the_middle_of_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch), ThreadPoolExecutor(2) as pool:
        kernel = Kernel()
        begun = threading.Event()
        calls = [pool.submit(kernel.execute, SLEEP, 100, on_message=once_begun(begun.set))]
        assert begun.wait(20)
        calls.append(pool.submit(kernel.execute, "'waiting for its turn'"))
        time.sleep(0.1)
        kernel.close()
        assert calls[0].result(timeout=20).status == "died"
        with pytest.raises(KernelError, match="closed"):
            calls[1].result(timeout=20)


def test_an_async_kernel_is_closed_for_good() -> None:
    async def main() -> None:
        kernel = AsyncKernel()
        await kernel.close()
        with pytest.raises(KernelError, match="closed"):
            await kernel.execute("1")

    asyncio.run(main())


def spec(folder: Path, *argv: str) -> None:
    (folder / "kernels" / "bad").mkdir(parents=True)
    (folder / "kernels" / "bad" / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "bad", "language": "python"})
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["python", "-c", "raise SystemExit('banana is not installed')"],
            r"ended with exit status 1 before it was ready(.|\n)*banana is not installed",
        ),
        (["python", "-c", "print('waiting', flush=True); import time; time.sleep(60)"], r"not ready within 1.5 s"),
        (["/no/such/python"], r"cannot be launched \(/no/such/python\)"),
    ],
)
def test_a_kernel_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    spec(tmp_path / "share", *argv)
    (tmp_path / "t").mkdir()
    with (
        nothing_left(tmp_path / "t", monkeypatch),
        pytest.raises(KernelError, match=message),
        Kernel(kernel_name="bad", limits=Limits(start_timeout=1.5)),
    ):
        pytest.fail("it cannot have started")


def test_what_a_kernel_is_asked_for_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch):
        with pytest.raises(KernelError, match=r"no Jupyter kernel is named 'nonsense'; installed: .*python3"):
            Kernel(kernel_name="nonsense").__enter__()
        with pytest.raises(KernelError, match="no such folder"):
            Kernel(cwd=tmp_path / "absent").__enter__()


def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        kernel = AsyncKernel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kernel.execute("1"), 0.1)
        assert (await kernel.execute("1 + 1")).text == "2"
        await kernel.close()

    with nothing_left(tmp_path, monkeypatch):
        asyncio.run(main())


def test_over_tcp_where_ipc_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch):
        monkeypatch.setattr(zmq, "IPC_PATH_MAX_LEN", 0)
        with Kernel() as kernel:
            assert "tcp" in kernel.execute("print(open(get_ipython().kernel.parent.connection_file).read())").text
        monkeypatch.undo()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with Kernel() as kernel:
            assert "ipc" in kernel.execute("print(open(get_ipython().kernel.parent.connection_file).read())").text


def test_folder_and_environment(tmp_path: Path) -> None:
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"FRUIT": "banana"}
    with Kernel(cwd=tmp_path, env=env) as kernel:
        text = kernel.execute("import os; print(os.getcwd(), os.environ['FRUIT'], 'PYTEST_VERSION' in os.environ)").text
    assert text == f"{tmp_path.resolve()} banana False"


def test_inside_a_running_event_loop_and_inside_a_kernel(kernel: Kernel) -> None:
    async def main() -> Result:
        return kernel.execute("1 + 1")

    assert asyncio.run(main()).text == "2"
    nested = kernel.execute(
        "from workbook.sandbox.kernel import AsyncKernel, Kernel\nwith Kernel() as k: print(k.execute('40 + 2').text)\n"
        "async with AsyncKernel() as k: print((await k.execute('40 + 3')).text)",
        timeout=60,
    )
    assert nested.text == "42\n43"


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"], ids=["exits", "is killed"])
def test_a_program_that_forgets_to_close(tmp_path: Path, end: str) -> None:
    program = (
        "import os\nfrom workbook.sandbox.kernel import Kernel\nkernel = Kernel()\n"
        f"print(kernel.execute('import os; os.getpid()').text, flush=True)\n{end}"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stderr == ""
    assert wait_until(lambda: not is_running(int(run.stdout)))
    if not end:
        assert list(tmp_path.iterdir()) == []
