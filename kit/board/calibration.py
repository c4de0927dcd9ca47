"""The report's section on calibration: is the network right as often as it says, and what would a temperature mend."""

from pathlib import Path

from kit.errors import DataError
from kit.interpret.drawing import png_of
from kit.interpret.section import Section, SectionFigure, SectionTable
from kit.judge.calibration import Calibration, calibrate, plot_reliability
from kit.judge.predict import PREFIX, read_predictions

TITLE = "Calibration"


def calibration_section(out_of_fold: Path) -> Section:
    """Return the section of out-of-fold predictions on disk, or one that says why there is none."""
    try:
        found = calibrate(read_predictions(out_of_fold, kind="out-of-fold", classes=_classes(out_of_fold)))
    except DataError as error:
        return Section(key="calibration", title=TITLE, intro=str(error))
    return _section(found)


def _classes(path: Path) -> tuple[str, ...]:
    """Return the classes that a file of predictions has columns of, in their order."""
    import pandas as pd

    if not path.is_file():
        raise DataError(
            "Calibration is measured out of fold, and this run has no such predictions here. Run with folds: --folds 5."
        )
    try:
        columns = [str(column) for column in pd.read_csv(path, nrows=0).columns]
    except (OSError, ValueError) as error:
        raise DataError(f"The predictions {path.name} cannot be read: {error}.") from error
    return tuple(column.removeprefix(PREFIX) for column in columns if column.startswith(PREFIX))


def _section(found: Calibration) -> Section:
    before, after = found.before, found.after
    rows = (
        ("as the networks say", before.error, found.log_loss_before),
        ("with a temperature, each fold's fitted on the others", after.error, found.log_loss_after),
    )
    bins = tuple(
        (f"{low:.2f} to {high:.2f}", int(count), float(confidence), float(accuracy))
        for low, high, count, confidence, accuracy in zip(
            before.low, before.high, before.num_images, before.confidence, before.accuracy, strict=True
        )
    )
    sure = "less sure than they are" if found.temperature > 1 else "surer than they are"
    return Section(
        key="calibration",
        title=TITLE,
        intro=f"The expected calibration error is the mean distance between how sure an answer is and how often such "
        f"answers are right, over 15 bins of confidence (Guo et al. 2017). The temperature {found.temperature:.3f}, "
        f"fitted out of fold, would make the answers {sure}; it changes no answer.",
        tables=(
            SectionTable(
                caption="What a temperature changes, out of fold",
                columns=("probabilities", "calibration error", "log loss, nats"),
                rows=rows,
            ),
            SectionTable(
                caption="Confidence and accuracy by bins, as the networks say",
                columns=("confidence", "images", "mean confidence", "share right"),
                rows=bins,
            ),
        ),
        figures=(
            SectionFigure(
                png=png_of(plot_reliability(before, after, title="Reliability, out of fold"), dpi=110),
                alt=f"Share of right answers against confidence: calibration error {before.error:.4f} before and "
                f"{after.error:.4f} after the temperature. The tables have the numbers.",
                caption="On the dashed line answers are right as often as they say.",
            ),
        ),
    )
