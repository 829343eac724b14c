"""The entry module of graded notebooks: what the fork server runs in each box.

A box executes the cells of one notebook and then answers the judge's questions about what they have defined. All of it
is in the power of the student's code, so it decides nothing and knows nothing worth knowing.
"""

import functools

from autograder.wire import Responder
from workbook.sandbox.isolation.channel import Channel
from workbook.sandbox.isolation.shell import HostLine, Shell


@functools.cache
def _shell() -> Shell:
    return Shell()


def prepare() -> None:
    """Builds the shell, before the first box is made."""
    _shell()


def run(channel: Channel) -> None:
    """Serves the host at the other end of `channel`, in a box; does not return."""
    line = HostLine(channel)
    _shell().serve(line, Responder(_shell().user_ns, line).answer)
