"""Serving a hosted competition: its server in a thread, and the scoring beside it.

Plain HTTP, on loopback unless told: on another network than one's own, others could read keys and files as they pass.
"""

import contextlib
import threading
from collections.abc import Iterator

from kit.errors import ConfigError
from kit.host.connections import Server
from kit.host.handler import Handler
from kit.host.hosted import HostedCompetition


@contextlib.contextmanager
def serve(hosted: HostedCompetition, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """Serve a hosted competition, and score what is handed in, until the block is left.

    Args:
        hosted: the competition.
        host: address to listen at; another than loopback lets other machines in.
        port: 0: any that is free.

    Raises:
        ConfigError: something else has the port, or the address is not this machine's.
    """
    try:
        server = Server(hosted, (host, port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"Cannot listen at {host}, port {port}: {reason}. Give another --port or --bind.") from None
    hosted.start()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        hosted.stop()
