"""A real HTTP server on this machine that serves files, with faults on demand."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves `files` (path without the first slash -> bytes), as well as its faults let it."""

    daemon_threads = True

    def __init__(self, handler: type["Handler"]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[Message] = []  # headers of each
        self.refusals: list[tuple[int, dict[str, str]]] = []  # status and headers of the first answers
        self.cuts: list[int] = []  # bytes of body after which the next answers break off
        self.redirects: dict[str, str] = {}
        self.version: Callable[[bytes], str] | None = lambda content: f'"{md5(content).hexdigest()}"'
        self.ignores_ranges = False
        self.names_its_end = True  # a refused range (416) comes with the file's size
        self.chunked = False
        self.extra: dict[str, str | None] = {}  # headers of every answer with a body, as they are; None: left out
        self.on_request: Callable[[int], None] = lambda number: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        return [headers["Range"] for headers in self.requests]

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has hung up."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def refuse(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.close_connection = True
        server = self.server
        server.on_request(len(server.requests))
        server.requests.append(self.headers)
        name = self.path.lstrip("/").partition("?")[0]
        if server.refusals:
            return self.refuse(*server.refusals.pop(0))
        if name in server.redirects:
            return self.refuse(302, {"Location": server.redirects[name]})
        if name not in server.files:
            return self.refuse(404)
        return self.send_file(server.files[name])

    def send_file(self, content: bytes) -> None:
        server = self.server
        version = server.version(content) if server.version else None
        asked, condition = self.headers["Range"], self.headers["If-Range"]
        start = 0
        if asked and not server.ignores_ranges and (condition is None or condition == version):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.refuse(416, {"Content-Range": f"bytes */{len(content)}"} if server.names_its_end else {})
        body = content[start:]
        cut = server.cuts.pop(0) if server.cuts else len(body)
        headers: dict[str, str | None] = {"Connection": "close", "Accept-Ranges": "bytes", "ETag": version}
        headers["Transfer-Encoding" if server.chunked else "Content-Length"] = (
            "chunked" if server.chunked else str(len(body))
        )
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if start else 200)
        for name, value in {**headers, **server.extra}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if server.chunked:
            self.wfile.write(b"%x\r\n%s" % (len(body), body[:cut]) if body else b"")
            self.wfile.write((b"\r\n" if body else b"") + b"0\r\n\r\n" if cut >= len(body) else b"")
        else:
            self.wfile.write(body[:cut])
        return None


@contextmanager
def running(handler: type[Handler] = Handler) -> Iterator[Server]:
    """Run a server on a free port."""
    with Server(handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
