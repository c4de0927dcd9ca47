"""Robots: whether a site's robots.txt lets this kit fetch an address (RFC 9309)."""

import threading
from concurrent.futures import Future
from urllib.robotparser import RobotFileParser

from kit.scrape.addresses import RefusedError, place_of, redirected
from kit.scrape.web import USER_AGENT, FailedError, Place, Web

MOST_BYTES = 1 << 19  # RFC 9309 asks to read at least 500 KiB
SECONDS = 10.0
REDIRECTS = 5


class Robots:
    """The rules of each site, fetched once; may be asked from many threads."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._rules: dict[Place, Future[RobotFileParser | None]] = {}
        self._lock = threading.Lock()

    def allows(self, url: str) -> bool:
        """Say whether a normalised address may be fetched. A site whose rules cannot be had allows it."""
        place = place_of(url)
        with self._lock:
            first = place not in self._rules
            future = self._rules.setdefault(place, Future())
        if first:
            try:
                future.set_result(self._fetched(place))
            except BaseException as error:  # the others that wait must hear of it
                future.set_exception(error)
        rules = future.result()
        return rules is None or rules.can_fetch(USER_AGENT, url)

    def _fetched(self, place: Place) -> RobotFileParser | None:
        scheme, host, port = place
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/robots.txt"
        try:
            for _ in range(REDIRECTS + 1):
                answer = self._web.get(url, max_bytes=MOST_BYTES, seconds=SECONDS)
                if answer.status == 200:
                    rules = RobotFileParser()
                    rules.parse(answer.body.decode("utf-8", errors="replace").splitlines())
                    return rules
                location = answer.headers.get("Location")
                if not 300 <= answer.status < 400 or location is None:
                    return None
                url = redirected(url, location, allowed=self._web.allowed)
        except (RefusedError, FailedError, ValueError):  # ValueError: the parser's own, of odd digits
            return None
        return None
