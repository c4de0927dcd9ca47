"""Addresses: which URLs may be fetched, and which network addresses a connection may be made to.

A list of URLs is somebody else's text. Without a check it could make this machine ask its own services, its
neighbours', or a cloud's metadata server: server-side request forgery. So a host's addresses are checked after
the name is resolved, before each connection, and the connection is made to the very address that was checked.
"""

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from kit.errors import ConfigError

LONGEST_URL = 8192  # characters
HOST_NOT_PUBLIC, PORT_NOT_ASKED = "host is not public", "port not asked"  # reasons that --allow-host takes away
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_.:-]+")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# Special by IANA's registries, though not every Python's `ipaddress` says so: protocol assignments, 6to4 relays;
# IPv4-compatible, NAT64 inside one network, documentation, segment identifiers.
_NOT_PUBLIC = tuple(
    ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "::/96", "64:ff9b:1::/48", "3fff::/20", "5f00::/16")
)
_IN_PATH = "/%:@!$&'()*+,;=~"
_IN_QUERY = _IN_PATH + "?[]"

Resolve = Callable[[str, int], list[str]]  # (host, port) -> addresses


class RefusedError(Exception):
    """An address or an answer that is left out on purpose; `reason` goes into the manifest."""

    def __init__(self, reason: str, *, opt_out: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.opt_out = opt_out  # the directive by which the publisher has opted out


@dataclass(frozen=True)
class AllowedHosts:
    """Hosts that the user has named: any address and any port of theirs may be asked."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()  # port None: every port

    def __contains__(self, place: tuple[str, int]) -> bool:
        """Say whether (host, port) was named."""
        return place in self.hosts or (place[0], None) in self.hosts


NO_HOSTS = AllowedHosts()


def read_allowed_hosts(texts: Iterable[str]) -> AllowedHosts:
    """Read `HOST` and `HOST:PORT` (an IPv6 address in brackets).

    Raises:
        ConfigError: a text of another form.
    """
    found = set()
    for text in texts:
        try:
            parts = urlsplit(f"//{text.strip()}")
            if not parts.hostname or parts.path or parts.query or parts.fragment or "@" in text:
                raise ValueError("no host")
            found.add((parts.hostname.rstrip("."), parts.port))
        except ValueError as error:
            raise ConfigError(
                f"--allow-host {text!r} is not of the form HOST or HOST:PORT. Example: --allow-host nas.local:8080."
            ) from error
    return AllowedHosts(frozenset(found))


def normalised(url: str, *, allowed: AllowedHosts = NO_HOSTS) -> str:
    """Return `url` in one spelling: small scheme and host, IDNA, percent-escapes, no default port, no fragment.

    Only http and https are asked, without user names or passwords, on the ports 80, 443, and 1024 and above
    (below are the services of a system: mail, shells, file shares); a host in `allowed` is asked on any port.

    Raises:
        RefusedError: with the reason.
    """
    text = url.strip()
    if len(text) > LONGEST_URL:
        raise RefusedError(f"address too long (over {LONGEST_URL:,} characters)")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise RefusedError("control characters in the address")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise RefusedError("not an address") from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise RefusedError("not an http address")
    if "@" in parts.netloc:
        raise RefusedError("user name or password in the address")
    try:
        host = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii").lower()
        path, query = quote(parts.path or "/", safe=_IN_PATH), quote(parts.query, safe=_IN_QUERY)
    except UnicodeError:
        raise RefusedError("not an address") from None
    if not _HOST.fullmatch(host) or port == 0:
        raise RefusedError("not an address")
    port = port or _DEFAULT_PORTS[scheme]
    if port not in (80, 443) and port < 1024 and (host, port) not in allowed:
        raise RefusedError(f"{PORT_NOT_ASKED} (port {port})")
    netloc = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORTS[scheme]:
        netloc += f":{port}"
    return urlunsplit((scheme, netloc, path, query, ""))


def redirected(url: str, location: str, *, allowed: AllowedHosts = NO_HOSTS) -> str:
    """Return the normalised address that the answer to `url` points to; from https it must be https again.

    Raises:
        RefusedError: the new address may not be asked.
    """
    try:
        # http.client reads headers as Latin-1; most servers that send other letters mean UTF-8.
        target = urljoin(url, location.encode("latin-1").decode("utf-8", errors="replace").strip())
    except ValueError:
        raise RefusedError("redirect to no address") from None
    try:
        target = normalised(target, allowed=allowed)
    except RefusedError as error:
        raise RefusedError(f"redirect: {error.reason}") from None
    if url.startswith("https:") and not target.startswith("https:"):
        raise RefusedError("redirect from https to http")
    return target


def place_of(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of a normalised address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def is_public(address: str) -> bool:
    """Say whether an IP address is one of the public internet.

    Private, shared (RFC 6598), loopback, link-local, multicast, reserved and unspecified addresses are not. An IPv6
    address that carries an IPv4 address (mapped, 6to4, NAT64) is what that one is; Teredo and the
    deprecated IPv4-compatible addresses are not public.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if carried := ip.ipv4_mapped or ip.sixtofour:
            return is_public(str(carried))
        if ip in _NAT64:
            return is_public(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.teredo or ip.is_site_local:
            return False
    kinds = (ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast, ip.is_reserved, ip.is_unspecified)
    return ip.is_global and not any(kinds) and not any(ip in network for network in _NOT_PUBLIC)


def system_addresses(host: str, port: int) -> list[str]:
    """Return the addresses that the system's resolver gives for `host`, each once, in its order.

    The resolver also reads the old spellings of IPv4: 2130706433, 0177.0.0.1 and 127.1 all are 127.0.0.1.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def checked_addresses(host: str, port: int, *, allowed: AllowedHosts, resolve: Resolve) -> list[str]:
    """Resolve `host` once and return its addresses, all of which may be asked.

    Raises:
        RefusedError: one of them is not public, and the host is not in `allowed`.
        OSError: the name cannot be resolved.
    """
    addresses = resolve(host, port)
    if (host, port) not in allowed:
        # All, not some: a name that has both public and private addresses is a common disguise.
        for address in addresses:
            if not is_public(address):
                raise RefusedError(f"{HOST_NOT_PUBLIC} ({address})")
    return addresses
