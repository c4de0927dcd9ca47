"""Logging in: Kaggle's own client, pointed at Kaggle or at a server of one's own, with limits on how long it waits."""

from typing import TYPE_CHECKING, Any

from kit.kaggle.credentials import Credentials, credentials_for_own_server, own_server

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

CONNECT_SECONDS, ANSWER_SECONDS = 20, 120  # the client itself would wait for ever
_NOWHERE = "nowhere://"  # refused by `requests` before anything is sent


def log_in() -> "KaggleApi | None":
    """Return the client, logged in; None where it cannot use the credentials that there are.

    Raises:
        requests.exceptions.RequestException: the server could not be asked, or refused.
        ImportError: the client is not whole.
    """
    import requests

    api = _client()
    try:
        api.authenticate()
    except requests.exceptions.RequestException:
        raise
    except (SystemExit, Exception):  # it leaves the program, or raises what its parser of the file raises
        return None
    return api


def _client() -> "KaggleApi":
    from kagglesdk import kaggle_env

    # The package logs in when it is imported, with what it finds, at Kaggle: credentials that may be another server's.
    places, real = kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD
    before = places[real]
    places[real] = _NOWHERE
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi
    finally:
        places[real] = before

    url = own_server()

    class Client(KaggleApi):  # type: ignore[misc, unused-ignore]
        def build_kaggle_client(self) -> Any:
            client = super().build_kaggle_client()
            http: Any = client.http_client()
            if url:
                http._endpoint = url
                http._signed_in = True  # else it looks for a token in the user's folder
            http._init_session()
            for scheme in ("http://", "https://"):
                http._session.mount(scheme, _patient_adapter())
            if url:
                http._session.auth = _proof(http)
            return client

        def authenticate(self) -> None:
            if not url:
                super().authenticate()
            elif (found := credentials_for_own_server()) is not None:
                self._use(found)
            else:
                raise SystemExit(1)

        def _use(self, found: Credentials) -> None:
            values: dict[str, Any] = {}
            self.config_values = values
            if found.token:
                values[self.CONFIG_NAME_TOKEN] = found.token
                name = self._introspect_token(found.token)
                if not name:
                    raise SystemExit(1)
                values[self.CONFIG_NAME_USER] = name
            else:
                values |= {self.CONFIG_NAME_USER: found.username, self.CONFIG_NAME_KEY: found.key}

    return Client()


def _proof(http: Any) -> Any:
    """Return what the session proves itself with."""
    return http.BearerAuth(http._api_token) if http._api_token else (http._username, http._password)


def _patient_adapter() -> Any:
    import requests.adapters

    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["timeout"] = kwargs.get("timeout") or (CONNECT_SECONDS, ANSWER_SECONDS)
            return super().send(request, *args, **kwargs)

    return Adapter()
