"""The command that looks a score up on Kaggle's boards: place."""

from typing import Annotated

import typer


def place(
    slug: Annotated[
        str, typer.Argument(metavar="SLUG", help="A competition here that is one of Kaggle's, or its name on Kaggle.")
    ],
    score: Annotated[str, typer.Argument(metavar="SCORE", help="As Kaggle would print it, e.g. 0.06127.")],
    public: Annotated[bool, typer.Option("--public", help="On the public board instead of the final one.")] = False,
) -> None:
    """Show which rank, percentile and medal a score would have had on Kaggle's leaderboard."""
    from kit.board.kaggle_boards import find_board, kaggle_slug
    from kit.board.placing import placed_words

    name = kaggle_slug(slug)
    print(placed_words(name, score, board=find_board(name, public=public)))
    print("The board is of Kaggle's own hidden test images: of a score from any others this is an estimate.")


COMMANDS = (place,)
