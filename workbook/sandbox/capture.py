"""Code that runs inside a Python kernel; it is sent there as text."""


def capture_descriptors() -> None:
    """Passes what C code and child processes print on to the cell's output, all of it before the cell ends.

    ipykernel does this too, but its thread is not waited for: of cells whose child prints 100 KB, one in ten ended
    without the last lines. It must be told not to (`capture_fd_output`). Uses nothing from outside its body.
    """
    import codecs
    import os
    import select
    import sys
    import threading
    import time
    from typing import Any

    from IPython import get_ipython

    def forward(stream: Any, descriptor: int) -> None:
        source, sink = os.pipe()
        os.set_blocking(source, False)
        os.dup2(sink, descriptor)
        os.close(sink)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        lock = threading.Lock()  # whoever holds it knows that no other has read what is not written yet

        def pass_on() -> bool:
            with lock:
                try:
                    block = os.read(source, 2**20)  # more than a pipe holds, so all that was printed up to now
                    stream.write(decoder.decode(block))
                except BlockingIOError:
                    return True
                except ValueError:  # a cell has closed the stream; read on, or the next one to print would be stuck
                    pass
                return bool(block)

        def watch() -> None:
            while select.select([source], [], [])[0] and pass_on():
                time.sleep(0.001)  # 64 MB/s at most: a child that prints without end must not fill our memory

        stream.fileno = lambda: descriptor  # for subprocess.run(..., stdout=sys.stdout)
        threading.Thread(target=watch, daemon=True).start()
        get_ipython().events.register("post_execute", pass_on)

    if sys.platform != "win32" and "fileno" not in vars(sys.stdout):
        forward(sys.stdout, 1)
        forward(sys.stderr, 2)
