"""Pinned: a connection to the very address that was checked, with a deadline that holds for all its reads together."""

import http.client
import io
import socket
import ssl
import time
from typing import Any


class PinnedConnection(http.client.HTTPConnection):
    """A connection to one checked address, never to another; Host header and TLS name are the host's."""

    sock: Any  # a _Line; None when closed

    def __init__(self, host: str, port: int, *, address: str, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self.auto_open = 0  # never open again by itself: that would resolve nothing and check nothing
        self.default_port = 443 if tls else 80  # decides whether the Host header names the port
        self._address, self._tls_context = address, tls

    def open(self, *, connect_seconds: float, read_seconds: float) -> None:
        """Connect; the TLS handshake may take `connect_seconds` again."""
        plain = socket.create_connection((self._address, self.port), timeout=connect_seconds)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = self._tls_context.wrap_socket(plain, server_hostname=self.host) if self._tls_context else plain
        except BaseException:
            plain.close()
            raise
        self.sock = _Line(secured, read_seconds=read_seconds)


class _Line:
    """A socket, as http.client uses one, with a deadline: a timeout alone bounds each read, not all of them."""

    def __init__(self, connected: socket.socket, *, read_seconds: float) -> None:
        self._socket, self._read_seconds = connected, read_seconds
        self.deadline = float("inf")

    def arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(self._read_seconds, left))

    def sendall(self, data: bytes) -> None:
        self.arm()
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self, self._socket.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._socket.close()


class _Reading(io.RawIOBase):
    def __init__(self, line: _Line, raw: Any) -> None:
        super().__init__()
        self._line, self._raw = line, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._line.arm()
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
