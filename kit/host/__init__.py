"""A stand-in for Kaggle: hosts one competition for its real, unmodified client.

For tests, and for a class or a company. It speaks the client's protocol over HTTP: files, uploads, scores, limits and
leaderboards. From Python:

    from kit.host.hosted import HostedCompetition    # the competition: accounts, rules, standings on disk
    from kit.host.server import serve                # its HTTP server
    from kit.host.faults import Faults               # what is to go wrong, for tests

    hosted = HostedCompetition.create(folder, competition, solution=Path("solution.csv"), data=Path("public_files"))
    key = hosted.add_user("ann")                     # her API key, shown this once
    with serve(hosted) as server:                    # a free port on 127.0.0.1
        server.url                                   # "http://127.0.0.1:40123": what stands for https://api.kaggle.com
        hosted.wait_until_scored()

`HostedCompetition.open(folder, competition)` goes on with what stands there. The competition answers to its slug and to
its slug on Kaggle. A public score is the Ladder's (`kit.host.ladder`) unless `ladder=False`: then each submission has
its own, as on Kaggle. `create(..., faults=Faults(...))` and `hosted.faults.<field> = ...` set faults, at any time;
nothing that comes over the network can.
"""
