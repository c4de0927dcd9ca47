"""A web server on loopback that answers as it is told, and a collection from it."""

import socket
import ssl
import struct
import threading
import time
import zlib

from toys import write_files

from kit.scrape.collector import Limits
from kit.scrape.scrape import collect as collect_images

QUICK = Limits(
    pause_seconds=0, backoff_seconds=0.01, attempts=3, read_seconds=2, total_seconds=5, per_host=8, threads=8
)


def tiny_png(number: int) -> bytes:
    """A PNG of 2 x 1 pixels whose colours are the bytes of `number`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + number.to_bytes(6, "big"), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def http(body: bytes = b"", *, status: int = 200, **headers: str) -> bytes:
    """An HTTP answer as bytes; `x_robots_tag` stands for X-Robots-Tag."""
    lines = [f"HTTP/1.1 {status} .", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Site:
    """A web server on loopback. `answers[path]` is bytes to send or a function of the socket; other paths are 404."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict = {}
        self.asked: list[tuple[str, dict[str, str]]] = []  # paths and headers
        self.connections = 0
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked if path != "/robots.txt"]

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            if self._context:
                connected = self._context.wrap_socket(connected, server_side=True)
            with connected:
                data = b""
                while True:
                    while b"\r\n\r\n" not in data:
                        if not (more := connected.recv(4096)):
                            return
                        data += more
                    head, _, data = data.partition(b"\r\n\r\n")
                    first, *lines = head.decode().split("\r\n")
                    path = first.split()[1]
                    self.asked.append((path, dict(line.split(": ", 1) for line in lines)))
                    answer = self.answers.get(path, http(b"nothing here", status=404))
                    if not isinstance(answer, bytes):
                        answer = answer(connected)
                        if answer is None:
                            return
                    connected.sendall(answer)
        except OSError:
            return


def hang_up(connected: socket.socket) -> None:
    """End a connection by a reset."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def say_nothing(seconds: float):
    return lambda connected: time.sleep(seconds)


def collector(tmp_path, site):
    """Return a function that scrapes class -> addresses (a path is one of `site`) and returns the collection."""

    def call(lists: dict[str, list[str]], *, limits: Limits = QUICK, **options):
        folder = tmp_path / f"lists-{time.monotonic_ns()}"
        full = {f"{k}.txt": [site.url(u) if u.startswith("/") else u for u in urls] for k, urls in lists.items()}
        write_files(folder, {name: "\n".join(urls).encode() for name, urls in full.items()})
        options.setdefault("allow_hosts", [site.host])
        options.setdefault("say", lambda line: None)
        return collect_images("bears", [folder], limits=limits, **options)

    return call


def states(collection) -> list[tuple[str, str]]:
    return [(row.status, row.kind_of_reason) for row in collection.rows]
