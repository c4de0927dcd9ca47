"""Connections: how many there may be at once, and how long each may take."""

import contextlib
import hashlib
import hmac
import io
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kit.host.hosted import HostedCompetition

MAX_CONNECTIONS = 256
PATIENCE = 30.0  # seconds for the head of a request, for a piece of a download, and to begin a body


class Server(ThreadingHTTPServer):
    """The server of one hosted competition: a thread for each connection."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(
        self, hosted: HostedCompetition, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]
    ) -> None:
        self.hosted = hosted
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._link_key = hashlib.sha256(b"links " + hosted.settings.secret.encode()).digest()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    @property
    def url(self) -> str:
        """Address of the server: what stands for https://api.kaggle.com."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}"

    def signature(self, name: str, until: int) -> str:
        """Return what makes the address of a file good until a time (seconds since 1970)."""
        return hmac.new(self._link_key, f"{until} {name}".encode(), hashlib.sha256).hexdigest()[:40]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or end it where there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._free.release()

    def server_close(self) -> None:
        """End every connection too: a client that keeps one would be answered on, by nobody's will."""
        super().server_close()
        for connection in self._open.copy():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has hung up; anything else has been told where it happened."""


class Patient(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly the bytes come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self.deadline = connection, 0.0

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come, at most until the deadline.

        Raises:
            TimeoutError: it has passed.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client is too slow")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(PATIENCE)  # of each piece that is sent
