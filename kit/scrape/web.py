"""Web: one GET request at a time, to a checked address, within limits of bytes and time that no server can stretch."""

import http.client
import socket
import ssl
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlsplit

from kit.scrape.addresses import (
    NO_HOSTS,
    AllowedHosts,
    RefusedError,
    Resolve,
    checked_addresses,
    place_of,
    system_addresses,
)
from kit.scrape.pinned import PinnedConnection

USER_AGENT = "competition-kit"
CHUNK_BYTES = 1 << 16
MOST_IDLE = 128  # connections kept open for the next request
_HEADERS = {
    "User-Agent": USER_AGENT,
    # Not */* alone: a server that has a picture in several formats should send one that the kit reads.
    "Accept": "image/jpeg,image/png,image/webp,image/gif,*/*;q=0.1",
    "Accept-Encoding": "identity",
}

Place = tuple[str, str, int]  # scheme, host, port


class FailedError(Exception):
    """An answer that could not be had; `reason` goes into the manifest."""

    def __init__(self, reason: str, *, transient: bool, wait_seconds: float = 0.0, no_connection: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.transient = transient  # another attempt may succeed
        self.wait_seconds = wait_seconds  # the server asks for this pause
        self.no_connection = no_connection  # the host could not be reached at all


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said. `body` is read for status 200 only."""

    status: int
    headers: Message
    body: bytes = b""


class Web:
    """A pool of connections; its methods may be called from many threads.

    Connections go straight to the checked address, so proxies of the environment are not used.
    """

    def __init__(
        self,
        *,
        allowed: AllowedHosts = NO_HOSTS,
        connect_seconds: float = 10.0,
        read_seconds: float = 20.0,
        resolve: Resolve = system_addresses,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Remember the limits.

        Args:
            allowed: hosts that may have private addresses.
            connect_seconds: for a connection, its TLS handshake included once more.
            read_seconds: the longest silence.
            resolve: gives the addresses of a host.
            tls: certificates that are trusted; default: the system's.
        """
        self.allowed = allowed
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._idle: OrderedDict[Place, list[PinnedConnection]] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, url: str, *, max_bytes: int, seconds: float, judge: Callable[[Message], None] | None = None
    ) -> Answer:
        """Ask for a normalised address and return the answer; redirects are returned, not followed.

        Args:
            url: as `addresses.normalised` returns it.
            max_bytes: a longer body is refused while it is read.
            seconds: from the start of the request to the last byte.
            judge: sees the headers of an answer 200 before its body is read, and may raise `RefusedError`.

        Raises:
            RefusedError: the host is not public, `judge` says no, or the body is too long.
            FailedError: no answer, or half of one.
        """
        try:
            return self._get(url, max_bytes, time.monotonic() + seconds, judge)
        except TimeoutError:
            raise FailedError("timeout", transient=True) from None
        except ssl.SSLCertVerificationError as error:
            raise FailedError(f"certificate not trusted ({error.verify_message})", transient=False) from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, http.client.IncompleteRead):
            raise FailedError("connection broke off", transient=True) from None
        except ssl.SSLError as error:
            raise FailedError(f"TLS fault ({error.reason})", transient=False) from None
        except http.client.HTTPException as error:
            raise FailedError(f"not an HTTP answer ({type(error).__name__})", transient=False) from None
        except OSError as error:
            raise FailedError(f"network fault ({error.strerror or error})", transient=True) from None

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _get(self, url: str, max_bytes: int, deadline: float, judge: Callable[[Message], None] | None) -> Answer:
        place = place_of(url)
        connection, response = self._ask(url, place, deadline)
        whole = False
        try:
            if response.status != 200:
                # A short body is read to its end, so that the connection can be used again.
                whole = response.length is not None and response.length <= CHUNK_BYTES
                while whole and _read_some(response):
                    pass
                return Answer(status=response.status, headers=response.headers)
            if judge is not None:
                judge(response.headers)
            body = _plain(_body(response, max_bytes), response.headers, max_bytes)
            whole = True
            return Answer(status=200, headers=response.headers, body=body)
        finally:
            response.close()
            if whole and connection.sock is not None:
                self._keep(place, connection)
            else:
                connection.close()

    def _ask(self, url: str, place: Place, deadline: float) -> tuple[PinnedConnection, http.client.HTTPResponse]:
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        while True:
            kept = self._take_idle(place)
            connection = kept or self._connect(place, deadline)
            try:
                connection.sock.deadline = deadline
                connection.request("GET", target, headers=_HEADERS)
                return connection, connection.getresponse()
            except ConnectionError:  # RemoteDisconnected is one
                connection.close()
                if kept is None:  # else the server closed an idle connection, as it may
                    raise
            except BaseException:
                connection.close()
                raise

    def _connect(self, place: Place, deadline: float) -> PinnedConnection:
        scheme, host, port = place
        try:
            addresses = checked_addresses(host, port, allowed=self.allowed, resolve=self._resolve)
        except socket.gaierror as error:
            again = error.errno == socket.EAI_AGAIN
            raise FailedError("host not found", transient=again, no_connection=True) from None
        except UnicodeError:
            raise FailedError("host not found", transient=False, no_connection=True) from None
        fault = "no address"
        for address in addresses[:3]:
            seconds = min(self._connect_seconds, deadline - time.monotonic())
            if seconds <= 0:
                raise TimeoutError
            connection = PinnedConnection(host, port, address=address, tls=self._tls if scheme == "https" else None)
            try:
                connection.open(connect_seconds=seconds, read_seconds=self._read_seconds)
                return connection
            except ssl.SSLError:
                raise
            except TimeoutError:
                fault = "no connection (timeout)"
            except OSError as error:
                fault = f"no connection ({error.strerror or error})"
        raise FailedError(fault, transient=True, no_connection=True)

    def _take_idle(self, place: Place) -> PinnedConnection | None:
        with self._lock:
            connections = self._idle.get(place)
            if not connections:
                return None
            connection = connections.pop()
            if not connections:
                del self._idle[place]
            return connection

    def _keep(self, place: Place, connection: PinnedConnection) -> None:
        with self._lock:
            self._idle.setdefault(place, []).append(connection)
            self._idle.move_to_end(place)
            if sum(map(len, self._idle.values())) <= MOST_IDLE:
                return
            oldest = next(iter(self._idle))
            extra = self._idle[oldest].pop(0)
            if not self._idle[oldest]:
                del self._idle[oldest]
        extra.close()


def _read_some(response: http.client.HTTPResponse) -> bytes:
    """Read what is there, at most a chunk: `read` would wait for a whole chunk, however slowly it comes."""
    return response.read1(CHUNK_BYTES)


def _body(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """Read the body; what the header says of its length is only an early hint."""
    if response.length is not None and response.length > max_bytes:
        raise RefusedError(_too_large(max_bytes))
    chunks, num_bytes = [], 0
    while chunk := _read_some(response):
        chunks.append(chunk)
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise RefusedError(_too_large(max_bytes))
    if response.length:  # what is still missing
        raise FailedError("connection broke off", transient=True)
    return b"".join(chunks)


def _plain(body: bytes, headers: Message, max_bytes: int) -> bytes:
    """Undo a compression that was not asked for; the result has the same limit."""
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise RefusedError(f"content encoding not read ({encoding[:20]})")
    try:
        plain = zlib.decompressobj(wbits=47).decompress(body, max_bytes + 1)  # 47: gzip or zlib, by its header
    except zlib.error:
        raise FailedError("damaged content encoding", transient=False) from None
    if len(plain) > max_bytes:
        raise RefusedError(_too_large(max_bytes))
    return plain


def _too_large(max_bytes: int) -> str:
    return f"too large (over {max_bytes / 2**20:g} MiB)"
