"""Servers in a thread of the test that hold a run up: they accept and say nothing, drip, or fall silent one day."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Hanging:
    """Accepts everybody. `dripping`: sends headers and then a blank every 50 ms, for ever."""

    port: int
    dripping: bool
    accepted: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextlib.contextmanager
def hanging(*, dripping: bool = False, port: int = 0) -> Iterator[Hanging]:
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        listener.settimeout(0.05)
        server = Hanging(listener.getsockname()[1], dripping)
        thread = threading.Thread(target=_serve, args=(server, listener), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            thread.join()


def _serve(server: Hanging, listener: socket.socket) -> None:
    """A drip begins when the request has come: bytes before it would be no answer, and the client hangs up."""
    held: list[socket.socket] = []
    asked: list[socket.socket] = []
    while not server.closing.is_set():
        with contextlib.suppress(TimeoutError):
            link, _ = listener.accept()
            link.setblocking(False)
            server.accepted += 1
            held.append(link)
        if not server.dripping:
            continue
        for link in [link for link in held if link not in asked]:
            with contextlib.suppress(OSError):
                if link.recv(65_536):
                    link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                    asked.append(link)
        for link in asked:
            with contextlib.suppress(OSError):
                link.send(b" ")
        time.sleep(0.01)
    for link in held:
        link.close()
