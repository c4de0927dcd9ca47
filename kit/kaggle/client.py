"""All talk with Kaggle, through its own client. Credentials are looked for first, and never printed."""

import contextlib
import io
import os
from pathlib import Path

from kit.errors import FetchError


def credentials_place() -> str | None:
    """Return where Kaggle credentials were found, in the client's own order, or None."""
    config = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    if os.environ.get("KAGGLE_API_TOKEN"):
        return "KAGGLE_API_TOKEN"
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    for path in (config / "access_token", config / "kaggle.json", config / "credentials.json"):
        if path.is_file():
            return str(path)
    return None


def download_competition(slug: str, folder: Path) -> list[Path]:
    """Download all files of the Kaggle competition `slug` into `folder` and return them.

    Raises:
        FetchError: no credentials, rules not accepted, no such competition, no network.
    """
    if credentials_place() is None:
        raise FetchError(
            f"Kaggle's files of {slug!r} need an account: no credentials were found. Make a token on kaggle.com "
            f"(Settings, API) and put it into KAGGLE_API_TOKEN or ~/.kaggle/kaggle.json; or fetch {slug}.zip by "
            "hand and give its folder with --mirror DIR."
        )
    import requests

    with contextlib.redirect_stdout(io.StringIO()):  # the client prints help for logging in when it is imported
        from kaggle.api.kaggle_api_extended import KaggleApi

        api = KaggleApi()
        try:
            api.authenticate()
            api.competition_download_files(slug, path=str(folder), quiet=True)
        except requests.exceptions.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise FetchError(_explain(slug, status, str(error))) from error
        except requests.exceptions.RequestException as error:
            raise FetchError(
                f"Kaggle could not be reached for {slug!r}: {error}. Without a network, give a folder with "
                f"{slug}.zip: --mirror DIR."
            ) from error
        except (SystemExit, ValueError) as error:  # the client's words for credentials it cannot use
            raise FetchError(
                f"Kaggle's client cannot use the credentials in {credentials_place()}. "
                "Make a new token on kaggle.com (Settings, API) and put it there."
            ) from error
    return sorted(path for path in folder.iterdir() if path.suffix != ".part")


def _explain(slug: str, status: int, message: str) -> str:
    remedy = {
        401: "Kaggle does not know these credentials. Make a new token on kaggle.com (Settings, API).",
        403: f"Accept the competition's rules first: https://www.kaggle.com/competitions/{slug}/rules",
        404: "Kaggle has no competition of that name. Its name is the last part of its page's address.",
        429: "Kaggle asks for a pause. Try again in some minutes.",
    }.get(status, "Try again later; https://www.kaggle.com shows whether the service is up.")
    return f"Kaggle refused the files of {slug!r} (HTTP {status}: {message}). {remedy}"
