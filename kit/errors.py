"""What can go wrong by a user's doing: each kind is an exception that explains itself in one paragraph.

The command line prints a `KitError` as that paragraph and exits with status 2. Any other exception is a
bug of ours and keeps its traceback.
"""


class KitError(Exception):
    """A mistake the user can mend. The message says what, where, what was expected, and what to do."""

    exit_code = 2  # of the command that it ends


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


def did_you_mean(word: str, known: list[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `known`, or an empty string."""
    import difflib  # imported here because `kit --help` must not pay for it

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
