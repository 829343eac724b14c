"""The channel: frames go through whole, and what is none is refused before it can do harm."""

import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbook.sandbox.isolation import channel as channels
from workbook.sandbox.isolation.channel import Channel, ChannelClosed, ChannelError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and the raw socket at its other end."""
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel(ours)
        yield channel, theirs
        channel.close()


def frame(text: bytes, blobs: tuple[bytes, ...] = ()) -> bytes:
    lengths = struct.pack(f"!{len(blobs)}Q", *map(len, blobs))
    return struct.pack("!II", len(text), len(blobs)) + lengths + text + b"".join(blobs)


def test_the_frame_is_as_the_documentation_says(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    channel.send({"a": "ä"}, [b"xyz", b""])
    assert other.recv(1000) == frame('{"a": "ä"}'.encode(), (b"xyz", b""))


@pytest.mark.parametrize("blobs", [[], [b""], [bytes(range(256)), b"", b"x" * 5_000_000]])
def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, socket.socket], blobs: list[bytes]) -> None:
    channel, other = ends
    far = Channel(other)
    messages = [{"n": n, "text": "€" * 1000, "values": [None, True, 1.5, {"x": []}]} for n in range(20)]

    def send() -> None:
        for message in messages:
            far.send(message, blobs)

    sender = threading.Thread(target=send)
    sender.start()
    for message in messages:
        assert channel.receive(60) == (message, blobs)
    sender.join()


def test_threads_do_not_mix_their_messages(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    far = Channel(other)

    def send(name: str) -> None:
        for number in range(50):
            far.send({"name": name, "number": number}, [name.encode() * 20_000])

    threads = [threading.Thread(target=send, args=[name]) for name in "abc"]
    for thread in threads:
        thread.start()
    received = [channel.receive(60) for _ in range(150)]
    for thread in threads:
        thread.join()
    for name in "abc":
        mine = [(message, blobs) for message, blobs in received if message["name"] == name]
        assert [message["number"] for message, _ in mine] == list(range(50))
        assert all(blobs == [name.encode() * 20_000] for _, blobs in mine)


def test_a_message_in_pieces_is_not_lost_by_a_timeout(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    whole = frame(b'{"a": 1}', (b"blob",))
    for piece in (whole[:3], whole[3:14], whole[14:-1]):
        other.sendall(piece)
        with pytest.raises(TimeoutError):
            channel.receive(0.01)
    other.sendall(whole[-1:])
    assert channel.receive(60) == ({"a": 1}, [b"blob"])


def test_the_end_is_told_after_the_last_message(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.sendall(frame(b"{}") + b"half")
    other.close()
    assert channel.receive(60) == ({}, [])
    with pytest.raises(ChannelClosed):
        channel.receive(60)
    with pytest.raises(ChannelClosed):
        channel.send({})


@pytest.mark.parametrize(
    "data",
    [
        frame(b"nonsense"),
        frame(b""),
        frame(b"[1]"),
        frame(b"null"),
        frame(b'{"a": "\xff"}'),
        frame(b'{"a": "\\ud800"}'),  # half a pair of surrogates: a string that no file can take
        frame(b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}"),
        frame(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        frame(b'{"a": ' + b"[" * 1_000_000),
        frame(b'{"a": ' + b"9" * 10_000 + b"}"),  # int() would take time that grows with its square
        struct.pack("!II", channels.MAX_TEXT + 1, 0),
        struct.pack("!II", 0xFFFFFFFF, 0),
        struct.pack("!II", 0, 0xFFFFFFFF),
        struct.pack("!IIQ", 2, 1, channels.MAX_MESSAGE),
        struct.pack("!IIQ", 2, 1, 0xFFFFFFFFFFFFFFFF),
        struct.pack("!IIQQ", 2, 2, channels.MAX_MESSAGE // 2, channels.MAX_MESSAGE // 2),
    ],
    ids=range(16),
)
def test_what_is_no_frame_is_refused(ends: tuple[Channel, socket.socket], data: bytes) -> None:
    channel, other = ends
    threading.Thread(target=other.sendall, args=[data], daemon=True).start()
    with pytest.raises(ChannelError):
        channel.receive(60)


def test_nesting_up_to_the_bound_is_fine(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    depth = channels.MAX_DEPTH - 1
    other.sendall(frame(b'{"a": ' + b"[" * depth + b"]" * depth + b', "b": "' + b"[" * 1000 + b'"}'))
    assert channel.receive(60)[0]["b"] == "[" * 1000


@pytest.mark.parametrize(
    ("message", "blobs"),
    [
        ({"a": {1, 2}}, []),
        ({"a": "x" * (channels.MAX_TEXT + 1)}, []),
        ({}, [b"x"] * (channels.MAX_BLOBS + 1)),
        ({}, [bytes(channels.MAX_MESSAGE)]),
    ],
    ids=["no JSON", "long text", "many blobs", "long blob"],
)
def test_what_cannot_be_received_is_not_sent(
    ends: tuple[Channel, socket.socket], message: dict[str, object], blobs: list[bytes]
) -> None:
    channel, other = ends
    with pytest.raises(ChannelError):
        channel.send(message, blobs)
    channel.send({"next": 1})
    assert json.loads(other.recv(1000)[8:]) == {"next": 1}


def test_half_a_surrogate_pair_becomes_a_question_mark(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    channel.send({"a": "x\ud800y", "b": "😀"})
    assert Channel(other).receive(60)[0] == {"a": "x?y", "b": "😀"}


FLOOD = """
import signal, socket, sys
from workbook.sandbox.isolation.channel import Channel

channel, number, interrupted, armed = Channel(socket.socket(fileno=int(sys.argv[1]))), 0, 0, False

def interrupt(*_):
    global armed, interrupted
    if armed:
        armed, interrupted = False, interrupted + 1
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)
while number < 1000:
    number += 1
    try:
        armed = True
        channel.send({"number": number}, [b"x" * 300_000])
        armed = False
    except KeyboardInterrupt:
        pass
signal.signal(signal.SIGINT, signal.SIG_IGN)
channel.send({"interrupted": interrupted})
"""


def test_an_interrupt_leaves_no_half_frame() -> None:
    """A process floods its channel and is interrupted all the time; each frame that comes is whole."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", FLOOD, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT)
        theirs.close()
        channel, last = Channel(ours), 0
        while "number" in (received := channel.receive(60))[0]:
            assert received[0]["number"] > last
            assert received[1] == [b"x" * 300_000]
            last = received[0]["number"]
            if last % 3 == 0:
                time.sleep(0.0005)  # it has filled the socket by now, and waits in the middle of a frame
                process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert received[0]["interrupted"] > 100
