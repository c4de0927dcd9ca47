"""HTTP/1.1 for a hosted competition: calls, uploads, downloads and the page of standings.

What comes is anyone's: sizes and times are bounded, a fault of ours is told without a traceback, and the log has no key
and no token.
"""

import base64
import binascii
import contextlib
import hmac
import io
import json
import re
import secrets
import socket
import time
import traceback
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kit.host.connections import PATIENCE, Patient, Server
from kit.host.data_files import DataFile
from kit.host.page import standings_page
from kit.host.protocol import COMPETITIONS, OWN, SECURITY, Answer, Call, RefusedError, answer
from kit.host.tables import User

MAX_CALL = 64 * 2**10  # bytes of a call's JSON
SLOWEST = 16 * 2**10  # bytes a second, of an upload
LINK_SECONDS = 24 * 3600  # how long the address of a download is good
PIECE = 256 * 2**10  # bytes that are read and sent at once

_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
_SERVICES = {f"/v1/{service}/" for service in (COMPETITIONS, SECURITY, OWN)}
_PAGE_RULES = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "competition-kit", ""
    timeout = PATIENCE
    _status, _what, _body_read = 0, "", False

    def setup(self) -> None:
        """Read with patience that ends."""
        super().setup()
        self._patient = Patient(self.connection)
        self.rfile = io.BufferedReader(self._patient)

    def handle_one_request(self) -> None:
        """Answer the next request; a slow or broken client ends the connection."""
        self._patient.deadline = time.monotonic() + PATIENCE
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # hung up, too slow, or not HTTP
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Write no line of the base class's: it would have the whole address."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no HTTP, or asks for another method, as every other call is refused."""
        self.close_connection = True
        self._send_json({"code": int(code), "message": message or HTTPStatus(code).phrase}, status=code)

    def do_GET(self) -> None:
        """Serve the page of standings, and files to those who have an address for them."""
        self._answered(self._get)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Serve the client's calls."""
        self._answered(self._post)

    def do_PUT(self) -> None:
        """Take an upload."""
        self._answered(self._put)

    def _answered(self, method: Any) -> None:
        """Answer by `method`; whatever goes wrong is told as JSON, and a fault of ours without its traceback."""
        self._status, self._what, self._body_read = 0, self.command, False
        try:
            method(self._path())
        except RefusedError as refused:
            pause = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
            self._send_json({"code": refused.status, "message": refused.message}, status=refused.status, headers=pause)
        except (OSError, ValueError):
            raise
        except Exception:
            self.server.hosted.say(traceback.format_exc())
            self._send_json({"code": 500, "message": "The host has made a mistake. Please tell the host."}, status=500)
        finally:
            when = self.server.hosted.now().isoformat(sep=" ", timespec="seconds")
            self.server.hosted.say(f"{when} {self.client_address[0]} {self._what} {self._status or 'no answer'}")

    def _path(self) -> str:
        """Return the path that is asked for, without what follows a ?; /api before the calls is taken off."""
        path = urlsplit(self.path).path  # a client that takes us for its proxy sends the whole address
        return path.removeprefix("/api") if path.startswith("/api/v1/") else path

    @property
    def _base(self) -> str:
        """The address by which the client called: a proxy's clients call another one than ours."""
        asked = urlsplit(self.path).netloc or self.headers.get("Host", "")
        return f"http://{asked}" if _HOST.fullmatch(asked) else self.server.url

    def _post(self, path: str) -> None:
        service, _, operation = path.rpartition("/")
        if f"{service}/" not in _SERVICES:
            raise RefusedError(404, "There is nothing at this address.")
        self._what = f"POST {operation if operation.isalnum() else '?'}"[:60]
        asked = self._call_body()
        hosted = self.server.hosted
        if service.endswith(SECURITY):
            return self._introspect(operation, asked)
        user = self._user()
        self._what += f" ({user.name})"
        found = answer(operation, Call(hosted=hosted, asked=asked, user=user, base=self._base, link=self._link))
        if hosted.faults.loses_answer(operation):
            return self._hang_up()
        return self._send(found)

    def _call_body(self) -> dict[str, Any]:
        body = self._body(self._length(MAX_CALL))
        try:
            asked = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            raise RefusedError(400, "The body is not JSON.") from None
        if not isinstance(asked, dict):
            raise RefusedError(400, "The body should be a JSON object.")
        return asked

    def _length(self, limit: int) -> int:
        """Return how many bytes the body has."""
        given = self.headers.get("Content-Length", "0" if self.command == "POST" else "")
        if self.headers.get("Transfer-Encoding") or not (given.isascii() and given.isdigit()):
            raise RefusedError(411, "The length of the body should be given: Content-Length.")
        if len(given) > 12 or int(given) > limit:
            raise RefusedError(413, f"The body is too large: up to {limit:,} bytes are taken.")
        return int(given)

    def _body(self, num_bytes: int) -> bytes:
        """Read a small body."""
        self._patient.deadline = time.monotonic() + PATIENCE + num_bytes / SLOWEST
        body = self.rfile.read(num_bytes)
        if len(body) < num_bytes:
            raise ConnectionError("the body ends too early")
        self._body_read = True
        return body

    def _introspect(self, operation: str, asked: dict[str, Any]) -> None:
        if operation != "IntrospectToken":
            raise RefusedError(404, "There is nothing at this address.")
        token = asked.get("token")
        user = self.server.hosted.store.user_of(token) if isinstance(token, str) else None
        if user is None or self.server.hosted.faults.expired_keys:
            return self._send_json({"active": False})
        return self._send_json({"active": True, "username": user.name})

    def _user(self) -> User:
        """Return whose call this is."""
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        store, user = self.server.hosted.store, None
        if kind.lower() == "bearer":
            user = store.user_of(given.strip())
        elif kind.lower() == "basic":
            with contextlib.suppress(binascii.Error, UnicodeDecodeError):
                name, _, key = base64.b64decode(given.strip(), validate=True).decode().partition(":")
                user = store.user_of(key, name=name)
        if user is None or self.server.hosted.faults.expired_keys:
            raise RefusedError(401, "Unauthenticated: this key is not known here, or has expired.")
        return user

    def _link(self, name: str) -> str:
        """Return the address of a file, or of the archive of all; it is good for a day, for whoever has it."""
        hosted, until = self.server.hosted, int(time.time()) + LINK_SECONDS
        kind, signed = ("files", name) if name else ("archive", "")
        return (
            f"{self._base}/{kind}/{until}-{self.server.signature(signed, until)}/{quote(name or hosted.name + '.zip')}"
        )

    def _get(self, path: str) -> None:
        hosted = self.server.hosted
        if path in ("/", f"/competitions/{hosted.name}"):
            self._what = f"{self.command} standings"
            return self._send_page(standings_page(hosted))
        _, kind, signed, name = [*path.split("/", 3), "", "", ""][:4]
        if kind not in ("files", "archive"):
            raise RefusedError(404, "There is nothing at this address.")
        name = unquote(name) if kind == "files" else ""
        self._what = f"{self.command} {json.dumps(name)[:200] if name else 'archive'}"
        until, _, signature = signed.partition("-")
        if not (until.isascii() and until.isdigit() and len(until) < 12) or not hmac.compare_digest(
            signature.encode(), self.server.signature(name, int(until)).encode()
        ):
            raise RefusedError(403, "This address of a file is not one that the host gave.")
        if int(until) < time.time():
            raise RefusedError(403, "This address of a file has expired. Ask for the file again.")
        file = hosted.files.get(name) if name else hosted.archive
        if file is None:
            raise RefusedError(404, "There is no such file in this competition.")
        return self._send_file(file)

    def _put(self, path: str) -> None:
        self._what = "PUT upload"
        hosted, token = self.server.hosted, path.removeprefix("/upload/")
        expected = hosted.store.expected_bytes(token) if path.startswith("/upload/") else None
        gone = RefusedError(404, "There is no upload at this address, or it has been handed in.")
        if expected is None:
            raise gone
        if (length := self._length(expected)) != expected:
            raise RefusedError(400, f"{expected:,} bytes were announced, and {length:,} are sent.")
        if hosted.faults.breaks_upload():
            self._body(min(length, PIECE))
            raise RefusedError(500, "The stand-in was told to break this upload.")
        part = hosted.store.uploads / f"{secrets.token_hex(8)}.part"
        try:
            self._patient.deadline = time.monotonic() + PATIENCE + length / SLOWEST
            with part.open("wb") as file:
                while length:
                    piece = self.rfile.read1(min(length, PIECE))
                    if not piece:
                        raise ConnectionError("the upload ends too early")
                    file.write(piece)
                    length -= len(piece)
            self._body_read = True
            if not hosted.store.keep_upload(token, part):
                raise gone
        finally:
            part.unlink(missing_ok=True)
        self._send_json({})

    def _send(self, found: Answer) -> None:
        if found.location:
            self._send_bytes(b"", "text/plain", status=302, headers={"Location": found.location})
        elif found.archive:
            self._send_bytes(found.archive, "application/zip")
        else:
            self._send_json(found.value)

    def _send_json(self, value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send_bytes(json.dumps(value).encode(), "application/json", status=status, headers=headers)

    def _send_page(self, html: str) -> None:
        self._send_bytes(html.encode(), "text/html; charset=utf-8", headers={"Content-Security-Policy": _PAGE_RULES})

    def _send_bytes(self, body: bytes, kind: str, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if status >= 400 and not self._body_read:
            self.close_connection = True  # what is left of the body would be taken for the next request
        self._head(status, len(body), {"Content-Type": kind, "Cache-Control": "no-store", **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, num_bytes: int, headers: dict[str, str]) -> None:
        self._status = status
        self.send_response(status)
        self.send_header("Content-Length", str(num_bytes))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, file: DataFile) -> None:
        """Send a file, or the part of it that is asked for and belongs to the same state of it (RFC 9110, 14)."""
        modified = format_datetime(file.modified, usegmt=True)
        start, end = 0, file.num_bytes
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked and self.headers.get("If-Range", file.etag) in (file.etag, modified):
            start = int(asked[1])
            end = min(end, int(asked[2]) + 1) if asked[2] else end
            if start >= end:
                return self._send_bytes(
                    b"", "text/plain", status=416, headers={"Content-Range": f"bytes */{file.num_bytes}"}
                )
        headers = {"Accept-Ranges": "bytes", "ETag": file.etag, "Last-Modified": modified}
        headers["Content-Type"] = "application/octet-stream"
        partial = (start, end) != (0, file.num_bytes)
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.num_bytes}"
        with file.path.open("rb") as content:
            if content.seek(0, io.SEEK_END) != file.num_bytes:
                raise RefusedError(500, "This file has changed since the host was started. Please tell the host.")
            content.seek(start)
            self._head(206 if partial else 200, end - start, headers)
            left = end - start if self.command != "HEAD" else 0
            whole = left == (allowed := self.server.hosted.faults.cut_of(left))
            while allowed and (piece := content.read(min(allowed, PIECE))):
                self.wfile.write(piece)
                allowed -= len(piece)
        return None if whole else self._hang_up()

    def _hang_up(self) -> None:
        """End the connection as a broken line does."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
