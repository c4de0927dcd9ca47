"""A hosted competition in a process of its own, to be killed: `host_process.py FOLDER PORT`."""

import sys
import time
from pathlib import Path

from hosting import hosted_question

from kit.host.hosted import HostedCompetition
from kit.host.server import serve

if __name__ == "__main__":
    root = Path(sys.argv[1])
    hosted = HostedCompetition.open(root / "hosted", hosted_question(root), say=lambda line: None)
    with serve(hosted, port=int(sys.argv[2])) as server:
        print(server.server_port, flush=True)
        time.sleep(3600)
