"""A competition's files from Kaggle, whole or absent: all in one archive, or one of them."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from kit.errors import FetchError
from kit.home import explained, make_folder
from kit.kaggle.client import Kaggle, connect
from kit.progress import Say

MOST_PAGES, FILES_A_PAGE = 5, 200  # of the list of files that is compared with what came


def download_competition(slug: str, folder: Path, *, say: Say = print) -> Path:
    """Download all files of the Kaggle competition `slug` as one archive into `folder`, and return the archive.

    An archive that is there already is taken as it is. A broken download is gone on with by the next call.

    Raises:
        FetchError: no credentials, rules not accepted, no such competition, no network, or not all files came.
        StorageError: the disk is full or not ours.
    """
    archive = folder / f"{slug}.zip"
    if zipfile.is_zipfile(archive):
        return archive
    part = folder / f"{slug}.part"  # the client keeps a note here of what it has of which version
    say(f"fetching {slug} from Kaggle")
    kaggle = _connect(slug, say)
    expected = list_files(kaggle)
    with explained(make_folder(part)):
        kaggle.ask(lambda api: api.competition_download_files(slug, path=str(part), quiet=True))
    received = [path for path in part.iterdir() if path.stem == slug]
    fault = _fault_of(received[0], expected) if received else "it sent none"
    if fault:
        shutil.rmtree(part)
        raise FetchError(
            f"What Kaggle sent as the files of {slug!r} is not whole: {fault}. It has been removed; run the command "
            f"again, or fetch {slug}.zip by hand and give its folder with --mirror DIR."
        )
    with explained(archive):
        received[0].replace(archive)
    shutil.rmtree(part)
    return archive


def download_file(slug: str, name: str, folder: Path, *, say: Say = print) -> Path:
    """Download one file of a Kaggle competition into `folder` and return it; a broken download is gone on with.

    Raises:
        FetchError: as `download_competition`; or the competition has no such file.
        StorageError: the disk is full or not ours.
    """
    kaggle = _connect(slug, say)
    expected = list_files(kaggle)
    if name not in expected:
        raise FetchError(
            f"{slug!r} has no file {name[:200]!r} on Kaggle. It has: {', '.join(sorted(expected)[:20]) or 'none'}. "
            "Give one of these names as it stands."
        )
    target = folder / Path(name).name
    part = folder / f"{target.name}.part"
    with explained(make_folder(part)):
        kaggle.ask(lambda api: api.competition_download_file(slug, name, path=str(part), quiet=True))
    # The address that it came from names it: as it is called, or zipped.
    known = {path.name: path for path in part.iterdir() if path.is_file() and not path.name.startswith(".")}
    names = (target.name, quote(target.name), f"{target.name}.zip")
    received = next((known[one] for one in names if one in known), None)
    fault = "it sent none" if received is None else _fault_of_file(received, target.name, expected[name])
    if fault or received is None:
        shutil.rmtree(part)
        raise FetchError(
            f"What Kaggle sent as the file {name!r} of {slug!r} is not whole: {fault}. It has been removed; run the "
            "command again."
        )
    target = target.with_name(f"{target.name}.zip") if received.name == f"{target.name}.zip" else target
    with explained(target):
        received.replace(target)
    shutil.rmtree(part)
    return target


def files_of(slug: str, *, say: Say = print) -> dict[str, int]:
    """Return name -> bytes of a competition's files on Kaggle; the first MOST_PAGES x FILES_A_PAGE of them."""
    return list_files(_connect(slug, say))


def _connect(slug: str, say: Say) -> Kaggle:
    return connect(
        slug,
        f"the files of {slug!r}",
        say=say,
        refused=FetchError,
        later=FetchError,
        kept="What came is kept, and the next attempt goes on from there.",
        otherwise=f"Without Kaggle, fetch {slug}.zip by hand and give its folder with --mirror DIR.",
    )


def list_files(kaggle: Kaggle) -> dict[str, int]:
    """Return name -> bytes of the competition's first files, MOST_PAGES x FILES_A_PAGE at most."""
    found: dict[str, int] = {}
    token = None
    for _ in range(MOST_PAGES):
        page = kaggle.ask(
            lambda api, token=token: api.competition_list_files(kaggle.slug, page_token=token, page_size=FILES_A_PAGE)  # type: ignore[misc]
        )
        found |= {file.name: file.total_bytes or 0 for file in page.files if file}
        if not (token := page.next_page_token):
            break
    return found


def _fault_of(archive: Path, expected: Mapping[str, int]) -> str:
    """Return what an archive lacks of the expected files (name -> bytes), or ""."""
    if not zipfile.is_zipfile(archive):
        return f"{archive.name} is not a whole zip archive"
    with zipfile.ZipFile(archive) as bundle:
        sizes = {info.filename: info.file_size for info in bundle.infolist()}
    sizes |= {name.rsplit("/", 1)[-1]: size for name, size in sizes.items()}  # a list may give bare names
    for name, num_bytes in expected.items():
        # More bytes than the list gives are fine: it may count them packed.
        if sizes.get(name, -1) < num_bytes:
            has = f"has {sizes[name]:,} bytes in it, expected {num_bytes:,}" if name in sizes else "is missing in it"
            return f"the file {name!r} {has}"
    return ""


def _fault_of_file(received: Path, name: str, num_bytes: int) -> str:
    if received.name == f"{name}.zip":
        return _fault_of(received, {name: num_bytes})
    size = received.stat().st_size
    return f"{size:,} bytes came, expected {num_bytes:,}" if size < num_bytes else ""
