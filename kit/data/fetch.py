"""Fetch: the files of a source set, checked, into a data folder that is either complete or absent."""

import gzip
import hashlib
import http.client
import json
import lzma
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from kit.competition import Competition, SourceFile, SourceSet
from kit.errors import FetchError
from kit.home import explained, family, filling, fingerprint, make_folder, write_json

CHUNK_BYTES = 1 << 20
CONNECT_SECONDS = 15.0
ATTEMPTS = 3  # a broken connection is resumed this often before it is an error
MARKER = ".fetched.json"

Say = Callable[[str], None]


def fetch(competition: Competition, *, source: str | None = None, mirror: str | None = None, say: Say = print) -> Path:
    """Return the folder with the competition's files, fetching, checking and unpacking what is not there yet.

    Args:
        competition: whose files.
        source: name of one of its source sets; default: the competition's default.
        mirror: folder or base URL that serves the same files; default: KIT_MIRROR.
        say: takes one line of progress.

    Raises:
        FetchError: a file cannot be had or is not what its checksum says, or an archive must not be trusted.
    """
    name = competition.source_name(source)
    chosen = competition.source(name)
    folder = family("data") / competition.slug / name
    key = _key(competition, chosen)
    marker = folder / MARKER
    if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")).get("key") == key:
        return folder
    mirror = mirror or os.environ.get("KIT_MIRROR") or None
    downloads = family("downloads") / competition.slug / name
    files = [(file, _obtain(file, downloads, competition, mirror, say)) for file in chosen.files]
    with filling(folder) as part:
        if chosen.kaggle:
            for archive in _kaggle_files(chosen.kaggle, downloads, competition, mirror):
                _unpack(archive, part) if archive.suffix == ".zip" else shutil.copy(archive, part / archive.name)
        for file, path in files:
            if file.unpack:
                say(f"unpacking {path.name}")
                _unpack(path, part)
            else:
                target = part / (file.save_as or file.name)
                make_folder(target.parent)
                shutil.copyfile(path, target)
        if materialise := competition.adapter_function("materialise"):
            materialise(part)
        write_json(part / MARKER, {"key": key, "source": name})
    return folder


def _key(competition: Competition, source: SourceSet) -> str:
    adapter = competition.folder / "adapter.py"
    return fingerprint(repr(source), adapter.read_bytes() if adapter.is_file() else b"")


def _obtain(file: SourceFile, downloads: Path, competition: Competition, mirror: str | None, say: Say) -> Path:
    """Return a checked copy of `file`: a mirror folder's own, an earlier download's, or a new download."""
    places = [file.path, f"{competition.slug}/{file.name}", file.name]
    if mirror and "://" not in mirror:
        root = Path(mirror).expanduser()
        if not root.is_dir():
            raise FetchError(f"The mirror {mirror} is not a folder. Give a folder, or a URL that starts with http.")
        for place in dict.fromkeys(p for p in places if p):
            if (root / place).is_file():
                return _verified(root / place, file, competition)
    target = downloads / file.name
    if target.is_file():
        return _verified(target, file, competition)
    urls = [f"{mirror.rstrip('/')}/{file.path or file.name}"] if mirror and "://" in mirror else []
    urls += [file.url] if file.url else []
    if not urls:
        raise FetchError(
            f"{competition.slug} needs the file {file.name}, which has no public address"
            f"{f', and it is not in the mirror {mirror}' if mirror else ''}. Give a folder that has it as "
            f"{file.path or file.name}: --mirror DIR, or set KIT_MIRROR."
        )
    make_folder(downloads)
    faults = []
    for url in urls:
        try:
            say(f"fetching {url}")
            _download(url, target, num_bytes=file.num_bytes)
            return _verified(target, file, competition)
        except (OSError, http.client.HTTPException) as error:
            faults.append(f"{url} ({getattr(error, 'reason', None) or error})")
    raise FetchError(
        f"{competition.slug} needs the file {file.name}, and it could not be fetched from {' nor from '.join(faults)}. "
        f"Without a network: put the file into a folder and give it with --mirror DIR (or KIT_MIRROR=DIR), "
        f"there as {' or '.join(dict.fromkeys(p for p in places if p))}. What was received is kept and will be resumed."
    )


def _kaggle_files(name: str, downloads: Path, competition: Competition, mirror: str | None) -> list[Path]:
    """Return what Kaggle gives for its competition `name`: the archive in a mirror folder, else downloaded files."""
    from kit.kaggle.client import download_competition

    if mirror and "://" not in mirror:
        for place in (f"{competition.slug}/{name}.zip", f"{name}.zip"):
            if (archive := Path(mirror).expanduser() / place).is_file():
                return [archive]
    return download_competition(name, make_folder(downloads))


def _download(url: str, target: Path, *, num_bytes: int) -> None:
    """Download `url` to `target` by way of `target`.part, resuming what an earlier attempt received."""
    part = target.with_name(target.name + ".part")
    for attempt in range(ATTEMPTS):
        have = part.stat().st_size if part.exists() else 0
        if num_bytes and have > num_bytes:
            part.unlink()
            have = 0
        if num_bytes and have == num_bytes:
            break
        request = urllib.request.Request(url, headers={"User-Agent": "competition-kit"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as answer:
                resumed = answer.status == 206  # a server that ignores ranges answers 200 with the whole file
                expected = int(answer.headers.get("Content-Length") or 0) + (have if resumed else 0)
                with explained(part), part.open("ab" if resumed else "wb") as file:
                    while chunk := answer.read(CHUNK_BYTES):
                        file.write(chunk)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing is left to send: the part is whole, or of another file
                break
            raise
        except (TimeoutError, ConnectionError, urllib.error.URLError, http.client.HTTPException):
            if attempt == ATTEMPTS - 1 or not part.exists():
                raise
            continue
        if not expected or part.stat().st_size >= expected:
            break
        if attempt == ATTEMPTS - 1:
            raise ConnectionError(f"the connection broke {ATTEMPTS} times, last at byte {part.stat().st_size}")
    part.replace(target)


def _verified(path: Path, file: SourceFile, competition: Competition) -> Path:
    """Return `path` if size and checksum are those of `file`. A wrong download is removed, a mirror's file is not."""
    faults = []
    if file.num_bytes and path.stat().st_size != file.num_bytes:
        faults.append(f"it has {path.stat().st_size:,} bytes, expected {file.num_bytes:,}")
    for kind, expected in (("sha256", file.sha256), ("md5", file.md5)):
        if expected and not faults:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, kind).hexdigest()
            if found != expected:
                faults.append(f"its {kind} is {found}, expected {expected}")
    if faults:
        mine = path.is_relative_to(family("downloads"))
        if mine:
            path.unlink()
        raise FetchError(
            f"{path} is not the file that {competition.slug} names: {faults[0]}. "
            + ("It has been removed; run the command again." if mine else "Put the right file into the mirror.")
            + " If the publisher has changed the file, the checksum in competition.toml must be changed knowingly."
        )
    return path


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip archive into `folder`; nothing in it may point or lie outside, nor be a device."""
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                for member in bundle.infolist():
                    _refuse_escape(archive, member, folder)
                bundle.extractall(folder)
        else:
            raise FetchError(f"{archive} is neither a tar nor a zip archive. Was an error page saved in its place?")
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise FetchError(
            f"{archive} cannot be unpacked: {error}. Nothing of it was kept. If it was downloaded, remove it with "
            "`kit cache --clear downloads` and fetch again."
        ) from error


def _refuse_escape(archive: Path, member: zipfile.ZipInfo, folder: Path) -> None:
    target = (folder / member.filename).resolve()
    if not target.is_relative_to(folder.resolve()) or stat.S_ISLNK(member.external_attr >> 16):
        raise FetchError(
            f"{archive}: the member {member.filename!r} lies outside the archive's folder or is a link. "
            "Such an archive is not trusted; nothing of it was kept."
        )
