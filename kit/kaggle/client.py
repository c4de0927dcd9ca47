"""All talk with Kaggle, through its own client. Credentials are looked for first, and never printed."""

import contextlib
import io
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import FetchError
from kit.home import explained, make_folder
from kit.progress import Say

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

ATTEMPTS = 4  # of one call, where Kaggle asks for a pause or the connection breaks
MOST_PAGES, FILES_A_PAGE = 5, 200  # of the list of files that an archive is compared with


def credentials_place() -> str | None:
    """Return where Kaggle credentials were found, in the client's own order, or None."""
    home, config = _config_folders()
    if os.environ.get("KAGGLE_API_TOKEN"):
        return "KAGGLE_API_TOKEN"
    for path in (home / "access_token", home / "access_token.txt"):
        if path.is_file():
            return str(path)
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    for path in (config / "kaggle.json", home / "credentials.json"):
        if path.is_file():
            return str(path)
    return None


def _config_folders() -> tuple[Path, Path]:
    """Return where the client looks for tokens, and where for kaggle.json."""
    home = Path.home() / ".kaggle"
    if chosen := os.environ.get("KAGGLE_CONFIG_DIR"):
        return home, Path(chosen)
    if home.is_dir():
        return home, home
    return home, Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"


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
    with _talk(slug, say) as api:
        expected = _list_files(api, slug)
        with explained(make_folder(part)):
            retried(api, api.competition_download_files)(slug, path=str(part), quiet=True)
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


def retried(api: "KaggleApi", call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `call`, repeated where Kaggle asks for a pause (429 with Retry-After) or the connection breaks.

    Only for calls that may be done twice; a submission may not.
    """
    repeated: Callable[..., Any] = api.with_retry(call, max_retries=ATTEMPTS)
    return repeated


@contextlib.contextmanager
def _talk(slug: str, say: Say) -> Iterator["KaggleApi"]:
    """Give Kaggle's client, logged in; what goes wrong inside becomes a `FetchError` without a secret in it."""
    if credentials_place() is None:
        raise FetchError(
            f"Kaggle's files of {slug!r} need an account: no credentials were found. Make a token on kaggle.com "
            f"(Settings, API) and put it into KAGGLE_API_TOKEN or ~/.kaggle/kaggle.json; or fetch {slug}.zip by "
            "hand and give its folder with --mirror DIR."
        )
    import requests

    told = _Told(say)
    # The client prints help for logging in when it is imported, and to stderr why it pauses.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
        try:
            yield _logged_in()
        except ImportError as error:
            raise FetchError(
                f"Kaggle's client cannot be loaded: {error}. Install it again, with `pip install kaggle six`."
            ) from error
        except requests.exceptions.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise FetchError(_explain(slug, status, without_secrets(str(error)))) from None
        except requests.exceptions.RequestException as error:
            raise FetchError(
                f"Kaggle could not be reached for {slug!r}, or broke off: {without_secrets(str(error))}. What came is "
                f"kept, and the next attempt goes on from there. Without a network, give a folder with {slug}.zip: "
                "--mirror DIR."
            ) from None
        except ValueError as error:  # the client's word for another size than the server spoke of
            raise FetchError(
                f"Kaggle's answer for {slug!r} cannot be used: {without_secrets(str(error))}. Run the command again."
            ) from None


def _logged_in() -> "KaggleApi":
    import requests
    from kaggle.api.kaggle_api_extended import KaggleApi

    api = KaggleApi()
    try:
        api.authenticate()
    except requests.exceptions.RequestException:
        raise
    except (SystemExit, Exception):  # it leaves the program, or raises what its parser of the file raises
        raise FetchError(
            f"Kaggle's client cannot use the credentials in {credentials_place()}. "
            "Make a new token on kaggle.com (Settings, API) and put it there."
        ) from None
    return api


class _Told(io.TextIOBase):
    """Stands for stderr, and hands each line on without secrets, to where stdout was."""

    def __init__(self, say: Say) -> None:
        self._say, self._stdout, self._stderr = say, sys.stdout, sys.stderr

    def write(self, text: str) -> int:
        if text.strip():
            with contextlib.redirect_stdout(self._stdout), contextlib.redirect_stderr(self._stderr):
                self._say(f"Kaggle: {without_secrets(text.strip())}")
        return len(text)


def _list_files(api: "KaggleApi", slug: str) -> dict[str, int]:
    """Return name -> bytes of the competition's first files, MOST_PAGES x FILES_A_PAGE at most."""
    found: dict[str, int] = {}
    token = None
    for _ in range(MOST_PAGES):
        page = retried(api, api.competition_list_files)(slug, page_token=token, page_size=FILES_A_PAGE)
        found |= {file.name: file.total_bytes or 0 for file in page.files if file}
        if not (token := page.next_page_token):
            break
    return found


def _fault_of(archive: Path, expected: dict[str, int]) -> str:
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


def without_secrets(text: str) -> str:
    """Return `text` without this machine's keys and tokens for Kaggle, nor what follows a ? in an address."""
    for secret in _secrets():
        text = text.replace(secret, "***")
    return re.sub(r"(https?://[^\s?]+)\?[^\s)]+", r"\1", text)


def _secrets() -> set[str]:
    home, config = _config_folders()
    found = {os.environ.get("KAGGLE_KEY", ""), os.environ.get("KAGGLE_API_TOKEN", "")}
    for path in (
        config / "kaggle.json",
        *(home / name for name in ("kaggle.json", "access_token", "credentials.json")),
    ):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text(encoding="utf-8").strip()
            content = json.loads(text) if text.startswith("{") else {"token": text}
            found |= {str(value) for name, value in content.items() if name in ("key", "token") or "_token" in name}
    with contextlib.suppress(OSError, ValueError):  # the variable may also name a file
        found.add(Path(os.environ.get("KAGGLE_API_TOKEN", "")).read_text(encoding="utf-8").strip())
    return {secret for secret in found if len(secret) > 3}


def _explain(slug: str, status: int, message: str) -> str:
    rules = f"https://www.kaggle.com/competitions/{slug}/rules"
    remedy = {
        401: "Kaggle does not know these credentials. Make a new token on kaggle.com (Settings, API).",
        403: f"This account has no permission for it: the competition may be private or over. If it is open to all, "
        f"accept its rules: {rules}",
        404: "Kaggle has no competition of that name. Its name is the last part of its page's address.",
        429: f"Kaggle asked for a pause {ATTEMPTS} times. Try again in some minutes.",
    }.get(status, "That is Kaggle's own trouble. Try again later; https://www.kaggle.com shows whether it is up.")
    if status == 403 and "rules" in message.lower():
        remedy = f"Accept the competition's rules first, logged in with this account: {rules}"
    return f"Kaggle refused the files of {slug!r} (HTTP {status}: {message}). {remedy}"
