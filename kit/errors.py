"""What can go wrong by a user's doing: each kind is an exception that explains itself in one paragraph.

The command line prints a `KitError` as that paragraph and exits with status 2. Any other exception is a
bug of ours and keeps its traceback.
"""

from collections.abc import Iterable

MISTAKE, LATER, INTERRUPTED, TERMINATED = 2, 75, 130, 143  # exit codes beside 0 and 1

EXIT_CODES = {
    0: "done",
    1: "a bug of ours, with its traceback",
    MISTAKE: "a mistake that the message explains, or findings that must be mended",
    LATER: "Kaggle is out of reach or asks for a pause: the same command may work later",
    INTERRUPTED: "interrupted (Ctrl-C): what was finished is kept",
    TERMINATED: "terminated (SIGTERM): what was finished is kept",
}
PARTING = "\nkit: interrupted. Finished stages are kept; the same command goes on from there."  # after a Ctrl-C


class KitError(Exception):
    """A mistake the user can mend. The message says what, where, what was expected, and what to do."""

    exit_code = MISTAKE  # of the command that it ends

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: the message, and no traceback."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(KitError):
    """A recipe, a setting or a command-line option is wrong."""


class CompetitionError(KitError):
    """A competition folder is missing, incomplete or contradicts itself."""


class FetchError(KitError):
    """Files could not be had: no network, a wrong checksum, an archive that must not be trusted."""


class DataError(KitError):
    """Images or labels are unusable: unreadable, missing, doubled, unknown, too few."""


class WeightsError(KitError):
    """Pretrained weights or a checkpoint could not be found, read or matched to the network."""


class TrainingError(KitError):
    """Training had to stop: numbers ran away, memory ran out, an interruption."""


class NoMemoryError(TrainingError):
    """There is no memory for what was asked, in parts as small as they can be."""


class SubmissionError(KitError):
    """A submission file would be refused by the competition."""


class BaselineError(KitError):
    """A file of published results breaks its schema."""


class StorageError(KitError):
    """The disk is full, read-only, or holds something that was damaged."""


def did_you_mean(word: str, known: Iterable[str], *, before: str = "") -> str:
    """Return " Did you mean 'x'?" for the closest of `known`, whatever its capitals, or an empty string.

    A name that begins with the word is closer than any other: of two, the shorter one. `before` is put before it, so
    that what is suggested can be typed: the tables that a key stands in.
    """
    import difflib  # imported here because `kit --help` must not pay for it

    written = {one.lower(): one for one in known}
    close = sorted((one for one in written if len(word) > 2 and one.startswith(word.lower())), key=len)[:1]
    close = close or difflib.get_close_matches(word.lower(), written, n=1, cutoff=0.6)
    if not close and len(word) > 4:  # the first letters of a long name, such as a run's, mistyped
        starts = {one[: len(word)]: one for one in written}
        close = [starts[one] for one in difflib.get_close_matches(word.lower(), starts, n=1, cutoff=0.8)]
    return f" Did you mean {before + written[close[0]]!r}?" if close else ""
