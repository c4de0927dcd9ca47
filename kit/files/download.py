"""Download: one file over http or https, whole and checked, through breaks, stalls and servers that misbehave.

What arrives goes to `<target>.part`, with a note beside it of which version of the file it is. A later attempt, or a
later run, asks for the rest of that version only (Range with If-Range, RFC 9110, sections 13.1.5 and 14), so that two
versions are never spliced together.
"""

import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

from kit.errors import FetchError, StorageError
from kit.home import explained, make_folder, write_json
from kit.progress import Counter, Say

CHUNK_BYTES = 1 << 20
ATTEMPTS = 6  # in a row without a byte of progress
FIRST_PAUSE_SECONDS = 0.5  # before the second attempt; doubled for each further one
MOST_PAUSE_SECONDS = 60.0  # also of what a server asks for with Retry-After
STALL_SECONDS = 30.0  # without a byte

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # a server's troubles that may be over soon
_BREAKS = (TimeoutError, ConnectionError, urllib.error.URLError, http.client.HTTPException)


def download(
    url: str, target: Path, *, num_bytes: int = 0, sha256: str = "", md5: str = "", say: Say = lambda line: None
) -> None:
    """Download `url` to `target`, going on where an earlier attempt ended.

    A part is gone on with only if the server can be held to the same version (ETag or Last-Modified), or a checksum
    will tell. A wrong file that came in parts is fetched once more from the start.

    Args:
        url: http or https, as is every address it leads to.
        target: replaced when the file is whole; only then does it exist.
        num_bytes: expected size; 0: not known.
        sha256: expected checksum; "" as also for `md5`: not known.
        md5: for publishers who give only that.
        say: takes a line of progress now and then.

    Raises:
        FetchError: refused by the server, broken off too often, or not the file that was expected.
        StorageError: the disk is full or not ours.
    """
    make_folder(target.parent)
    with _alone(target.parent, say) as waited:
        if waited and target.is_file() and not fault_of(target, num_bytes=num_bytes, sha256=sha256, md5=md5):
            return  # somebody else has just fetched it
        one = _Download(url, target, num_bytes=num_bytes, sha256=sha256, md5=md5, say=say)
        one.receive()
        if one.in_parts and (fault := one.fault()):
            say(f"{target.name}: {fault}; fetching it again from the start")
            one.forget()
            one.receive()
        if fault := one.fault():
            one.forget()
            raise FetchError(f"{url} is not the file that was expected: {fault}. It has been removed.")
        with explained(target):
            one.part.replace(target)
        one.forget()


def fault_of(path: Path, *, num_bytes: int = 0, sha256: str = "", md5: str = "") -> str:
    """Return what speaks against `path` being the expected file, or ""."""
    if num_bytes and path.stat().st_size != num_bytes:
        return f"it has {path.stat().st_size:,} bytes, expected {num_bytes:,}"
    for kind, expected in (("sha256", sha256), ("md5", md5)):
        if expected:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, kind).hexdigest()
            if found != expected.lower():
                return f"its {kind} is {found}, expected {expected}"
    return ""


class _Download:
    """One file on its way."""

    def __init__(self, url: str, target: Path, *, num_bytes: int, sha256: str, md5: str, say: Say) -> None:
        self.url, self.name, self.say = url, target.name, say
        self.num_bytes, self.sha256, self.md5 = num_bytes, sha256, md5
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")  # which version the part is of
        self.in_parts = False  # put together from more than one answer
        self.encoding = ""  # that the server has put on the file, though asked for none

    def fault(self) -> str:
        if self.have() > self.num_bytes > 0:
            return f"it has more bytes than the expected {self.num_bytes:,}"
        found = fault_of(self.part, num_bytes=self.num_bytes, sha256=self.sha256, md5=self.md5)
        packed = f"the server has packed it with {self.encoding!r}, unasked" if self.encoding else ""
        if found or self.sha256 or self.md5 or self.name.lower().endswith(("gz", "bz2", "xz")):
            return f"{found} ({packed})" if found and packed else found  # some servers call a .gz so that is just sent
        return packed

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def receive(self) -> None:
        """Fill the part until nothing is missing."""
        most, failures, connected = self.have(), 0, False
        if self._is_proven():
            return
        while True:
            pause = 0.0
            try:
                if self._ask():
                    return
                fault: Exception = ConnectionError(f"the connection broke at byte {self.have():,}")
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 416 and self._is_whole(error):
                    return
                if error.code not in _PASSING | {416}:
                    raise FetchError(self._refusal(error)) from error
                fault, pause = error, _retry_after(error)
            except _BREAKS as error:
                if not connected and _no_way_there(error):
                    raise FetchError(f"{self.url} could not be reached: {_words(error)}.{self._kept()}") from error
                fault = error
            if self._is_proven():  # whatever length the server spoke of
                return
            connected = True
            failures = 0 if self.have() > most else failures + 1
            most = max(most, self.have())
            if failures >= ATTEMPTS:
                raise FetchError(
                    f"{self.url} failed {failures} times without progress, at last with: {_words(fault)}.{self._kept()}"
                ) from fault
            if failures:
                pause = min(max(pause, FIRST_PAUSE_SECONDS * 2 ** (failures - 1)), MOST_PAUSE_SECONDS)
                self.say(f"{self.name}: {_words(fault)}; trying again in {pause:g} s")
                time.sleep(pause)

    def _is_proven(self) -> bool:
        """True where size and checksum say that nothing is missing; a size alone could be another version's."""
        has_size = self.num_bytes > 0 and self.have() == self.num_bytes
        return has_size and bool(self.sha256 or self.md5) and not self.fault()

    def _kept(self) -> str:
        return f" {self.have():,} bytes are kept, and will be gone on with." if self._resumable() else ""

    def _resumable(self) -> int:
        """Return how many bytes of the part can be gone on with."""
        have = self.have()
        too_long = self.num_bytes and have > self.num_bytes
        return have if have and not too_long and (self.sha256 or self.md5 or self._version()) else 0

    def _version(self) -> str:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["version"]) if note["url"] == self.url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _ask(self) -> bool:
        """Send one request and write what comes; True if that was all."""
        start, version = self._resumable(), self._version()
        request = urllib.request.Request(_quoted(self.url), headers={"User-Agent": "competition-kit"})
        request.add_header("Accept-Encoding", "identity")  # sizes and ranges are those of the file itself
        if start:
            request.add_header("Range", f"bytes={start}-")
            if version:
                request.add_header("If-Range", version)
        with _opener(self.sha256 or self.md5).open(request, timeout=STALL_SECONDS) as answer:
            self.encoding = (answer.headers.get("Content-Encoding") or "").lower().replace("identity", "")
            now = _version_of(answer.headers)
            if answer.status == 206:
                spot = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range") or "")
                if not start or not spot or int(spot[1]) != start or (version and now and now != version):
                    self.forget()  # not the range that was asked for, or of another version: from the start, then
                    raise ConnectionError("the server sent another part than it was asked for")
                end = int(spot[2]) + 1
                total = int(spot[3]) if spot[3] != "*" else end
                self.in_parts = True
            else:  # a server that ignores ranges, or whose file has changed, sends all of it
                start, length = 0, answer.headers.get("Content-Length") or ""
                end = total = int(length) if length.isdecimal() else 0
                self.in_parts = False
                self.part.unlink(missing_ok=True)
                write_json(self.note, {"url": self.url, "version": now})
            if self.num_bytes:  # one byte too many is enough to know that it is another file
                end = min(end or self.num_bytes + 1, self.num_bytes + 1)
            self._refuse_if_full(min(total, end) - start)
            have = self._write(answer, start, end, total)
            if have > self.num_bytes > 0:
                return True
            return have >= total if total else bool(answer.chunked) or have >= self.num_bytes

    def _write(self, answer: http.client.HTTPResponse, start: int, end: int, total: int) -> int:
        """Write the answer's body from byte `start` of the part on, up to `end` (0: not known); return the new size."""
        have = start
        of = total or self.num_bytes or None
        counting = Counter(self.name, total=of, done=start, unit="MB", scale=1e6, say=self.say)
        with explained(self.part), self.part.open("ab" if start else "wb") as file, counting as counter:
            while not end or have < end:
                # `read` would wait for a whole chunk, and a break would lose what came of it
                if not (chunk := answer.read1(min(CHUNK_BYTES, end - have) if end else CHUNK_BYTES)):
                    break
                file.write(chunk)
                have += len(chunk)
                counter.reach(have)
        return have

    def _is_whole(self, error: urllib.error.HTTPError) -> bool:
        """Nothing is left to send (416): the part is whole, or it is of another file and of no use."""
        size = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range") or "")
        self.in_parts = True
        if size and int(size[1]) == self.have():
            return True
        if (self.sha256 or self.md5) and not self.fault():
            return True
        self.forget()
        return False

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if 300 <= error.code < 400:
            return f"{self.url} leads to an address that is not followed: {error.reason}."
        return f"{self.url} was refused: HTTP {error.code} {error.reason}."

    def _refuse_if_full(self, more: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if more > free:
            raise StorageError(
                f"{self.name} needs {more / 1e9:,.2f} GB more, and the disk has {free / 1e9:,.2f} GB left. `kit cache` "
                "shows what the kit keeps and clears it; KIT_HOME moves it to another disk."
            )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and from https to http only where a checksum will tell."""

    def __init__(self, *, has_checksum: bool) -> None:
        self._has_checksum = has_checksum

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        old, new = urllib.parse.urlsplit(req.full_url).scheme, urllib.parse.urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http" and not self._has_checksum):
            raise urllib.error.HTTPError(req.full_url, 302, f"a redirect from {old} to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(checksum: str) -> urllib.request.OpenerDirector:
    """Return an opener that knows http and https alone: no file:, ftp: or data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(has_checksum=bool(checksum)),
    ):
        opener.add_handler(handler)
    return opener


def _quoted(url: str) -> str:
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        raise FetchError(f"{url} is not fetched: only addresses that begin with http:// or https:// are.")
    return urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")


def _version_of(headers: http.client.HTTPMessage) -> str:
    """Return what tells this version of the file from others: a strong ETag, else the date of its last change."""
    etag = headers.get("ETag") or ""
    return etag if etag.startswith('"') else headers.get("Last-Modified") or ""


def _no_way_there(error: Exception) -> bool:
    """True where no server was reached: no such name, no route, nobody listening, a certificate that is not trusted."""
    reason = getattr(error, "reason", None)
    return isinstance(reason, OSError) and not isinstance(reason, (ConnectionResetError, BrokenPipeError))


def _words(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(getattr(error, "reason", error), TimeoutError):
        return f"no byte came for {STALL_SECONDS:g} s"
    return str(getattr(error, "reason", "") or error) or type(error).__name__


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Return the seconds that the server asks to wait, 0 if it does not."""
    asked = (error.headers.get("Retry-After") or "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return 0.0


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[bool]:
    """Keep other downloads out of `folder`, also those of other processes; True if one had to be waited for."""
    with explained(folder):
        handle = os.open(folder, os.O_RDONLY)
    waited = False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            say(f"waiting for another download into {folder}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield waited
    finally:
        os.close(handle)
