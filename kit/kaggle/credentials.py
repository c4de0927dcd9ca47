"""Credentials for Kaggle: where they lie, whom they are for, and how to keep them out of everything that is shown."""

import contextlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from kit.errors import ConfigError

URL_SETTING = "KIT_KAGGLE_URL"


def own_server() -> str:
    """Return the address that KIT_KAGGLE_URL gives, of a server that speaks Kaggle's protocol; "" means Kaggle.

    Raises:
        ConfigError: it is no plain http(s) address.
    """
    address = os.environ.get(URL_SETTING, "").rstrip("/")
    if not address:
        return ""
    try:
        parts = urlsplit(address)
        plain = parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.query)
        _ = parts.port  # a number, or a ValueError
    except ValueError:
        plain = False
    if not plain or any(character.isspace() for character in address):
        raise ConfigError(
            f"{URL_SETTING} should be the address of a server like `kit host`, e.g. http://127.0.0.1:8000, without a "
            "name, a key or a ? in it. Correct it, or unset it to talk with Kaggle itself."
        )
    return address


def server_name() -> str:
    """Return how messages call the server that is talked with."""
    return f"the server {own}" if (own := own_server()) else "Kaggle"


def credentials_place() -> str | None:
    """Return where credentials were found, in the client's own order, or None.

    For a server of one's own (`own_server`) only the environment and the folder that KAGGLE_CONFIG_DIR names count:
    what lies in the user's folder is for Kaggle, and no other server is to see it.
    """
    home, config = _config_folders()
    own = bool(own_server())
    if os.environ.get("KAGGLE_API_TOKEN"):
        return "KAGGLE_API_TOKEN"
    for path in () if own else (home / "access_token", home / "access_token.txt"):
        if path.is_file():
            return str(path)
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    if own:
        chosen = os.environ.get("KAGGLE_CONFIG_DIR")
        paths = [Path(chosen) / "kaggle.json"] if chosen else []
    else:
        paths = [config / "kaggle.json", home / "credentials.json"]
    return next((str(path) for path in paths if path.is_file()), None)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A token, or a name and a key."""

    username: str = ""
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def credentials_for_own_server() -> Credentials | None:
    """Read what `credentials_place` names for a server of one's own, or return None where it cannot be read."""
    place = credentials_place()
    if place == "KAGGLE_API_TOKEN":
        token = os.environ["KAGGLE_API_TOKEN"]
        with contextlib.suppress(OSError, ValueError):  # it may also name a file
            token = Path(token).read_text(encoding="utf-8").strip()
        return Credentials(token=token) if token else None
    if place == "KAGGLE_USERNAME and KAGGLE_KEY":
        return Credentials(username=os.environ["KAGGLE_USERNAME"], key=os.environ["KAGGLE_KEY"])
    if place is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(Path(place).read_text(encoding="utf-8"))
            return Credentials(username=str(content["username"]), key=str(content["key"]))
    return None


def readable_by_others(place: str) -> bool:
    """Tell whether the file that holds credentials can be read by other users of this machine."""
    with contextlib.suppress(OSError, ValueError):
        return bool(Path(place).stat().st_mode & 0o044)
    return False


def without_secrets(text: str) -> str:
    """Return `text` without this machine's keys and tokens for Kaggle, nor what lets its bearer use an address.

    That is what follows a ?, also where the address is a bare path, and the token in a path of `kit host`'s uploads.
    """
    for secret in _secrets():
        text = text.replace(secret, "***")
    text = re.sub(r"((?:https?://|/)[^\s?]*)\?[^\s)]+", r"\1", text)
    return re.sub(r"(/upload/)[\w-]{20,}", r"\1***", text)


def _secrets() -> set[str]:
    home, config = _config_folders()
    found = {os.environ.get("KAGGLE_KEY", ""), os.environ.get("KAGGLE_API_TOKEN", "")}
    for path in (
        config / "kaggle.json",
        *(home / name for name in ("kaggle.json", "access_token", "access_token.txt", "credentials.json")),
    ):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text(encoding="utf-8").strip()
            content = json.loads(text) if text.startswith("{") else {"token": text}
            found |= {str(value) for name, value in content.items() if name in ("key", "token") or "_token" in name}
    with contextlib.suppress(OSError, ValueError):  # the variable may also name a file
        found.add(Path(os.environ.get("KAGGLE_API_TOKEN", "")).read_text(encoding="utf-8").strip())
    return {secret for secret in found if len(secret) > 3}


def _config_folders() -> tuple[Path, Path]:
    """Return where the client looks for tokens, and where for kaggle.json."""
    home = Path.home() / ".kaggle"
    if chosen := os.environ.get("KAGGLE_CONFIG_DIR"):
        return home, Path(chosen)
    if home.is_dir():
        return home, home
    return home, Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
