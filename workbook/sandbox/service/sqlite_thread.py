"""A thread with an SQLite connection of its own, which carries out what tasks ask for."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from workbook.sandbox.service.sqlite_file import error_name, store_error
from workbook.sandbox.service.store import StoreError

T = TypeVar("T")

_MOST_TOGETHER = 256  # jobs of one transaction

_Job = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class SqliteThread:
    """Carries out jobs in the order in which they are given, each as one transaction or as part of one.

    Jobs that wait while others are written are committed together. A commit costs much more than what is in it, and
    so the more tasks there are the less each of them pays.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writes: bool) -> None:
        """Starts the thread.

        Args:
            connection: In autocommit mode. It is the thread's from now on.
            path: The file, for messages.
            writes: Whether the jobs write. Those that only read have each a transaction of its own.
        """
        self._connection, self._path = connection, path
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._most_together = _MOST_TOGETHER if writes else 1
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        # A daemon: a store that nobody has closed must not keep the interpreter alive.
        self._thread = threading.Thread(
            target=self._serve, name="sqlite writer" if writes else "sqlite reader", daemon=True
        )
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Has the thread carry out a job. When this returns the transaction is committed.

        Args:
            work: The job. What it raises is raised here, and then nothing of it is written.

        Raises:
            StoreError: SQLite could not do it, or the store is closed.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise StoreError("the store is closed")
            self._jobs.put((work, future))
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Finishes the jobs that are waiting, and ends the thread. A second call does nothing."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        going = True
        while going:
            waiting = [self._jobs.get()]
            with suppress(queue.Empty):
                while len(waiting) < self._most_together and waiting[-1] is not None:
                    waiting.append(self._jobs.get_nowait())
            going = waiting[-1] is not None
            # A job whose task was cancelled while it was waiting is left out.
            self._commit([job for job in waiting if job is not None and job[1].set_running_or_notify_cancel()])
        with suppress(sqlite3.Error):  # what was acknowledged is in the log beside the file, if not in the file
            self._connection.close()

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            outcomes = self._transaction(jobs)
        except sqlite3.Error as error:
            if len(jobs) > 1 and error_name(error) not in ("BUSY", "LOCKED"):
                for job in jobs:  # the one for which there is no room takes no others with it
                    self._commit([job])
                return
            failure = store_error(error, self._path)
            outcomes = [(None, failure)] * len(jobs)
        for (_, future), (result, raised) in zip(jobs, outcomes, strict=True):
            if raised is None:
                future.set_result(result)
            else:
                future.set_exception(raised)

    def _transaction(self, jobs: list[_Job]) -> list[tuple[Any, Exception | None]]:
        """Carries out jobs in one transaction; what each returned or raised. If SQLite fails, nothing has happened."""
        execute, outcomes = self._connection.execute, list[tuple[Any, Exception | None]]()
        if not jobs:
            return outcomes
        execute(self._begin)
        try:
            for work, _ in jobs:
                execute("SAVEPOINT job")
                try:
                    outcomes.append((work(self._connection), None))
                except sqlite3.Error:
                    raise
                except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the task that asked
                    outcomes.append((None, error))
                    execute("ROLLBACK TO job")
                execute("RELEASE job")
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled it back already
                execute("ROLLBACK")
            raise
        return outcomes
