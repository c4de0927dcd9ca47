"""The command that looks a score up on Kaggle's boards: place."""

from typing import Annotated

import typer

from kit.cli import complete
from kit.cli.terminal import print_json

NOTE = "The board is of Kaggle's own hidden test images: of a score from any others this is an estimate."


def place(
    slug: Annotated[
        str,
        typer.Argument(
            metavar="SLUG",
            help="A competition here that is one of Kaggle's, or its name on Kaggle.",
            autocompletion=complete.slugs,
        ),
    ],
    score: Annotated[str, typer.Argument(metavar="SCORE", help="As Kaggle would print it, e.g. 0.06127.")],
    public: Annotated[bool, typer.Option("--public", help="On the public board instead of the final one.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: slug, board, score, placing, words, note.")
    ] = False,
) -> None:
    """Show which rank, percentile and medal a score would have had on Kaggle's leaderboard."""
    from kit.board.kaggle_boards import find_board, kaggle_slug
    from kit.board.kaggle_boards import place as placing_of
    from kit.board.placing import placed_words

    name = kaggle_slug(slug)
    board = find_board(name, public=public)
    words = placed_words(name, score, board=board)
    if as_json:
        placing = placing_of(board, score) if board is not None else None
        kind = board.kind if board is not None else None
        print_json({"slug": name, "board": kind, "score": score, "placing": placing, "words": words, "note": NOTE})
        return
    print(words)
    print(NOTE)


COMMANDS = (place,)
