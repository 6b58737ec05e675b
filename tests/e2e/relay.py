"""A cable between clients and the server that can be cut and mended."""

import contextlib
import socket
import threading
from typing import Self

CHUNK = 65536


class Relay:
    """Passes TCP connections on to `port`, byte for byte as they come."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._whole = True
        self._thread = threading.Thread(target=self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """End every connection, and each new one at once."""
        with self._lock:
            self._whole = False
            for each in self._open:
                _end(each)

    def mend(self) -> None:
        with self._lock:
            self._whole = True

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                far = self._connect() if self._whole else None
                if far is None:
                    near.close()
                    continue
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket | None:
        try:
            return socket.create_connection(self._target)
        except OSError:
            return None  # nobody listens

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK):
                sink.sendall(data)
        except OSError:
            pass  # cut
        _end(source)
        _end(sink)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.cut()
        _end(self._listener)
        self._listener.close()
        self._thread.join()
        for each in self._open:
            each.close()


def _end(one: socket.socket) -> None:
    """Wake up whoever reads; the socket is closed at the end, when nobody does."""
    with contextlib.suppress(OSError):  # it has ended already
        one.shutdown(socket.SHUT_RDWR)
