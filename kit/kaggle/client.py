"""All talk with Kaggle, through its own client. Credentials are looked for first, and never printed."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.kaggle.credentials import credentials_place, own_server, server_name, without_secrets
from kit.kaggle.login import log_in
from kit.progress import Say

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

ATTEMPTS = 4  # of one call, where Kaggle asks for a pause or the connection breaks


class KaggleError(KitError):
    """Kaggle refuses, and will go on refusing until the user changes something."""


class TryLaterError(KaggleError):
    """Kaggle is out of reach, in trouble or asks for a pause: the same command may work later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class Kaggle:
    """A conversation about one thing with the logged-in client.

    What goes wrong in it becomes a `KitError` in which no secret stands.
    """

    def __init__(
        self,
        slug: str,
        what: str,
        *,
        say: Say,
        refused: type[KitError],
        later: type[KitError],
        kept: str,
        otherwise: str,
    ) -> None:
        """Log in; see `connect`."""
        self.slug, self._what, self._say = slug, what, say
        self._refused, self._later, self._rest = refused, later, f"{kept} {otherwise}".strip()
        if credentials_place() is None:
            raise refused(_no_credentials(what, otherwise))
        self.said = ""  # what the client last printed
        with self._quiet(), self._explained():
            found = log_in()
        if found is None:
            raise refused(
                f"Kaggle's client cannot use the credentials in {credentials_place()}: {server_name()} does not know "
                f"them any more, or the file is damaged. {_NEW_TOKEN}"
            )
        self._api: KaggleApi = found

    @property
    def username(self) -> str:
        """Who is logged in, as the credentials say."""
        return str(self._api.config_values.get(self._api.CONFIG_NAME_USER, ""))

    def ask(self, call: Callable[["KaggleApi"], Any]) -> Any:
        """Return what `call` gets from the client; repeated where Kaggle asks for a pause or the connection breaks.

        Only for calls that may be done twice; a submission may not.
        """
        with self._quiet(), self._explained():
            return self._api.with_retry(call, max_retries=ATTEMPTS)(self._api)

    def ask_once(self, call: Callable[["KaggleApi"], Any]) -> Any:
        """Return what `call` gets from the client, asked once; its own exceptions come as they are."""
        with self._quiet():
            return call(self._api)

    def error_of(self, error: Exception) -> KitError:
        """Return the `KitError` that explains an exception of the client's."""
        import requests

        if isinstance(error, requests.exceptions.HTTPError):
            status = error.response.status_code if error.response is not None else 0
            kind = self._later if status == 429 or status >= 500 else self._refused
            return kind(_explain(self._what, self.slug, status, without_secrets(str(error))))
        if isinstance(error, ImportError):
            return self._refused(
                f"Kaggle's client cannot be loaded: {error}. Install it again, with `pip install kaggle six`."
            )
        if isinstance(error, requests.exceptions.RequestException) and not isinstance(error, ValueError):
            name = server_name()
            return self._later(
                f"{name[0].upper()}{name[1:]} could not be reached for {self._what}, or broke off: "
                f"{without_secrets(str(error))}. {self._rest}"
            )
        return self._refused(  # the client's word for another size than the server spoke of, or for no JSON
            f"The answer of {server_name()} about {self._what} cannot be used: {without_secrets(str(error))}. "
            "Run the command again."
        )

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Swallow the help that the client prints, and hand on what it says to stderr: why it pauses."""
        printed, told = io.StringIO(), _Told(self._say)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
            try:
                yield
            finally:
                self.said = without_secrets(printed.getvalue().strip())

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        import requests

        try:
            yield
        except (requests.exceptions.RequestException, ImportError, ValueError) as error:
            raise self.error_of(error) from None


def connect(
    slug: str,
    what: str,
    *,
    say: Say,
    refused: type[KitError] = KaggleError,
    later: type[KitError] = TryLaterError,
    kept: str = "Try again when the network is back.",
    otherwise: str = "",
) -> Kaggle:
    """Log in to talk about a competition.

    Args:
        slug: its name on Kaggle.
        what: is talked about, as messages call it: "the submissions of 'leaf'".
        say: takes lines of what the client says, such as pauses.
        refused: raised where the user must change something.
        later: raised where the same may work later.
        kept: what is said where the network breaks.
        otherwise: the way out without Kaggle.

    Raises:
        KitError: of these kinds; no credentials, or none that are accepted, or no network.
    """
    return Kaggle(slug, what, say=say, refused=refused, later=later, kept=kept, otherwise=otherwise)


_NEW_TOKEN = "Make a new token on kaggle.com (Settings, API) and put it there."


class _Told(io.TextIOBase):
    """Stands for stderr, and hands each line on without secrets, to where stdout and stderr were."""

    def __init__(self, say: Say) -> None:
        self._say, self._stdout, self._stderr = say, sys.stdout, sys.stderr

    def write(self, text: str) -> int:
        if text.strip():
            with contextlib.redirect_stdout(self._stdout), contextlib.redirect_stderr(self._stderr):
                self._say(f"Kaggle: {without_secrets(text.strip())}")
        return len(text)


def _no_credentials(what: str, otherwise: str) -> str:
    if own := own_server():
        return (
            f"For {what} the server {own} needs to know who asks, and no credentials were found for it. Put those that "
            "you got for it into KAGGLE_USERNAME and KAGGLE_KEY, or into kaggle.json in a folder that "
            "KAGGLE_CONFIG_DIR names; what lies in ~/.kaggle is for Kaggle, and is not sent there."
        )
    return (
        f"For {what} Kaggle needs an account: no credentials were found. Make a token on kaggle.com (Settings, API) "
        f"and put it into KAGGLE_API_TOKEN or ~/.kaggle/kaggle.json. {otherwise}".rstrip()
    )


def rules_page(slug: str) -> str:
    """Return where the rules of a competition are accepted."""
    return own_server() or f"https://www.kaggle.com/competitions/{slug}/rules"


def _explain(what: str, slug: str, status: int, message: str) -> str:
    rules, name = rules_page(slug), server_name()
    whole = f"{name[0].upper()}{name[1:]}"
    remedy = {
        401: f"{whole} does not know these credentials. Make a new token on kaggle.com (Settings, API).",
        403: f"This account has no permission for it: the competition may be private or over. If it is open to all, "
        f"accept its rules: {rules}",
        404: f"{whole} has no competition of that name. Its name is the last part of its page's address.",
        429: f"{whole} goes on asking for a pause. Try again in some minutes.",
    }.get(status, "That is Kaggle's own trouble. Try again later; https://www.kaggle.com shows whether it is up.")
    if own_server() and status == 401:
        remedy = f"{whole} does not know these credentials ({credentials_place()}). Ask its host for new ones."
    if own_server() and status not in (401, 403, 404, 429):
        remedy = "That is the server's own trouble. Try again later, and tell its host if it lasts."
    if status == 403 and "rules" in message.lower():
        remedy = f"Accept the competition's rules first, logged in with this account: {rules}"
    return f"{whole} refused {what} (HTTP {status}: {message}). {remedy}"
