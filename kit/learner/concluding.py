"""What a learner's answers become: a look at them, a comparison, a submission, a folder that stands alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kit.learner.answering import Answering

if TYPE_CHECKING:
    from kit.interpret.interpretation import Interpretation
    from kit.kaggle.submit import Submitted
    from kit.learner.comparison import LearnerComparison


class Concluding(Answering):
    """A network on some data that can be interpreted, compared, handed in and exported."""

    def export(self, folder: str | Path, *, onnx: bool = False) -> Path:
        """Write the present weights as a folder that stands alone, as `kit export` does, and return it.

        `kit predict` and the folder's own description tell how it is used; nothing of KIT_HOME is needed any more.

        Args:
            folder: empty, or not there yet.
            onnx: write ONNX too; needs the extra competition-kit[onnx].

        Raises:
            ConfigError: the folder is not empty, or the network is code of your own and `onnx` was not asked for.
            WeightsError: the network cannot be written as ONNX.
        """
        from kit.learner.exporting import export_learner

        return export_learner(self, Path(folder).expanduser(), onnx=onnx)

    def interpret(self) -> "Interpretation":
        """Return the answers to the held-out images, to be looked at: the worst ones, the confusion, and more."""
        from kit.learner.results import interpretation_of

        return interpretation_of(self)

    def compare(self, which: Literal["valid", "test"] | None = None) -> "LearnerComparison":
        """Return the present weights' score beside the published results, with the conditions in which they differ.

        Args:
            which: "test", the test list, which is looked at and noted in the ledger; "valid", the held-out images;
                None: the test list where its labels are known.
        """
        from kit.learner.comparison import compare_learner

        return compare_learner(self, which)

    def submission(self, path: str | Path) -> Path:
        """Write the answers to the test list as the competition wants them, checked, and return the file."""
        from kit.learner.handing_in import write_submission_of

        return write_submission_of(self, path)

    def submit(
        self, message: str = "", *, wait: bool = True, check_only: bool = False, again: bool = False
    ) -> "Submitted":
        """Predict the test list, check the file, and submit it once; see `kit submit`."""
        from kit.learner.handing_in import submit_learner

        return submit_learner(self, message=message, wait=wait, check_only=check_only, again=again)
