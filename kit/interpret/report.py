"""The sections of a run's report: what can be told from predictions, then what needs images, then the network."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from kit.board.records import RunRecord
from kit.errors import KitError
from kit.interpret.cases import HEADING, Case
from kit.interpret.drawing import png_of
from kit.interpret.finished import finished_run
from kit.interpret.interpretation import Interpretation
from kit.interpret.plots_confusion import MOST_CLASSES, plot_confusion, plot_table
from kit.interpret.plots_network import plot_attention, plot_embedding, plot_filters, plot_patches
from kit.interpret.section import Section, SectionFigure, SectionTable
from kit.progress import Say, counted, silent
from kit.store.pack import Pack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_CASES = 9  # on a sheet
NUM_ATTENTION = 6
MAX_ROWS = 40  # of a table
FEWEST_OF_A_GROUP = 5  # images
_CASE_COLUMNS = ("image", "prediction", "actual", "loss", "probability of prediction", "probability of actual class")


def report_sections(
    record: RunRecord, *, pack: Pack | None = None, with_network: bool = True, device: str = "auto", say: Say = silent
) -> list[Section]:
    """Return all that interprets a finished run; what cannot be made is a sentence that says what is missing.

    Args:
        record: of the run.
        pack: its images, if they are open.
        with_network: make the sections that run a network over images, which takes some hundred images' time.
        device: where to run it.
        say: takes lines of progress.
    """
    try:
        run = finished_run(record, pack=pack, device=device)
    except KitError as error:
        return [Section(key="interpretation", title="Interpretation", intro=str(error))]
    found = Interpretation(run.predictions, run.read, networks=run.networks, groups=run.groups)
    whose = "out-of-fold predictions: each image was answered by a network that had not seen it"
    if run.predictions.kind != "out-of-fold":
        whose = (
            "predictions of the test images. Whoever changes something because of what is seen here has chosen on the "
            "test; with folds (--folds 5) the same is shown out of fold"
        )
    try:
        sections = [_top_losses(found, whose), _confused(found), _classes(found)]
    except KitError as error:  # several labels to an image
        return [Section(key="interpretation", title="Interpretation", intro=str(error))]
    sections += [group] if (group := _groups(found)) is not None else []
    sections += [_sure_and_unsure(found)]
    if with_network:
        makers = ((_attention, "attention"), (_filters, "filters"), (_patches, "patches"), (_map, "map"))
        told = counted(makers, "making the report", unit="sections with the network", say=say)
        sections += [_or_why_not(maker, found, key=key) for maker, key in told]
    return sections


_TITLES = {
    "attention": "Where the network looks",
    "filters": "First-layer filters",
    "patches": "What excites single units",
    "map": "Embedding map",
}


def _or_why_not(maker: Callable[[Interpretation], Section], found: Interpretation, *, key: str) -> Section:
    try:
        return maker(found)
    except KitError as error:
        return Section(key=key, title=_TITLES[key], intro=str(error))


def _picture(figure: "Figure", *, alt: str, caption: str, photographs: bool = False) -> SectionFigure:
    return SectionFigure(png=png_of(figure, photographs=photographs), alt=alt, caption=caption)


def _sheet(
    found: Interpretation, chosen: Sequence[Case], *, title: str, caption: str
) -> tuple[SectionFigure | None, str]:
    """Return the sheet of some cases, or None and why there is none."""
    try:
        figure = found.plot_cases(chosen, title=title, figsize=(12.0, 3.3 * -(-len(chosen) // 3) + 0.4))
    except KitError as error:
        return None, str(error)
    alt = f"{title}: " + "; ".join(f"{one.image_id}: {one.predicted}, actually {one.actual}" for one in chosen)
    return _picture(figure, alt=alt, caption=caption, photographs=True), ""


def _case_table(chosen: Sequence[Case], caption: str) -> SectionTable:
    rows = tuple(
        (
            one.image_id,
            one.predicted,
            one.actual,
            f"{one.loss:.2f}",
            f"{one.probability:.3f}",
            f"{one.probability_of_actual:.3f}",
        )
        for one in chosen
    )
    return SectionTable(caption=caption, columns=_CASE_COLUMNS, rows=rows)


def _top_losses(found: Interpretation, whose: str) -> Section:
    chosen = found.top_losses(NUM_CASES)
    sheet, missing = _sheet(found, chosen, title=HEADING, caption="The images with the highest loss.")
    return Section(
        key="top-losses",
        title="Top losses",
        intro=f"From {whose}. The loss is -ln(probability of the actual class), in nats. What stands here is often a "
        f"wrong label, an odd picture, or two classes in one image. {missing}".strip(),
        tables=(_case_table(found.top_losses(2 * NUM_CASES), "The images with the highest loss"),),
        figures=() if sheet is None else (sheet,),
    )


def _sure_and_unsure(found: Interpretation) -> Section:
    kinds = (
        ("Most incorrect", "wrong answers given with the highest probability", found.most_incorrect),
        ("Most uncertain", "the two highest probabilities are closest", found.most_uncertain),
        ("Most correct", "right answers given with the highest probability", found.most_correct),
    )
    tables, figures, reasons = [], [], dict[str, None]()
    for title, what, choose in kinds:
        if not (chosen := choose(6)):
            continue
        tables.append(_case_table(chosen, f"{title}: {what}"))
        sheet, missing = _sheet(found, chosen, title=f"{title}: {HEADING}", caption=f"{title}: {what}.")
        figures += [sheet] if sheet is not None else []
        reasons |= {missing: None} if missing else {}
    hardest = [
        row["class"] for row in found.class_table().head(5).to_dict("records") if row["num_right"] < row["num_images"]
    ]
    of_classes = tuple(case for name in hardest for case in found.most_incorrect(2, name))
    if of_classes:
        tables.append(_case_table(of_classes, "Most incorrect of the least accurate classes, two of each"))
    return Section(
        key="sure-and-unsure",
        title="Most incorrect, most uncertain, most correct",
        intro=" ".join(["How sure the network was, right or wrong.", *reasons]),
        tables=tuple(tables),
        figures=tuple(figures),
    )


def _confused(found: Interpretation) -> Section:
    matrix = found.confusion_matrix(normalise="none", order="similarity")
    pairs = found.most_confused(min_val=2)
    once = len(found.most_confused()) - len(pairs)
    rows = tuple(pairs[:MAX_ROWS])
    num, shown = len(matrix.classes), min(len(matrix.classes), MOST_CLASSES)
    few = "" if shown == num else f", the {shown} of {num} classes with the most wrong answers"
    wrong = int(matrix.counts.sum() - matrix.counts.trace())
    figure = _picture(
        plot_confusion(matrix),
        alt=f"Confusion matrix of {num} classes: {wrong:,} of {int(matrix.counts.sum()):,} answers are wrong. "
        "The table of the most confused pairs has the largest counts.",
        caption=f"Confusion matrix in counts{few}. Classes that are taken for one another stand side by side.",
    )
    return Section(
        key="confusion",
        title="Which class is taken for which",
        intro=f"{len(pairs):,} pairs of classes were confused twice or more, {once:,} once."
        + (f" The {MAX_ROWS} most frequent are listed." if len(pairs) > MAX_ROWS else ""),
        tables=(SectionTable(caption="Most confused pairs", columns=("actual", "prediction", "images"), rows=rows),),
        figures=(figure,),
    )


def _accuracy_table(table: pd.DataFrame, *, caption: str) -> SectionTable:
    rows = tuple(
        (
            str(row.iloc[0]),
            int(row["num_images"]),
            f"{row['accuracy']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['mean_loss']:.3f}",
            f"{row['mean_probability']:.3f}",
        )
        for _, row in table.iterrows()
    )
    columns = (str(table.columns[0]), "images", "accuracy", "95 % interval", "mean loss", "mean probability of truth")
    return SectionTable(caption=caption, columns=columns, rows=rows)


def _classes(found: Interpretation) -> Section:
    table = found.class_table()
    without = len(found.predictions.classes) - len(table)
    return Section(
        key="classes",
        title="Class by class",
        intro="The accuracy of each class with its 95 % Wilson interval, the least accurate first. Those of "
        "classes with few images are wide: where they overlap, the order of two classes is not known."
        + (f" {without} classes have no image here." if without else ""),
        tables=(_accuracy_table(table, caption="Accuracy by class"),),
        figures=(
            _picture(
                plot_table(table),
                alt="Accuracy of each class with its interval; the table has the numbers.",
                caption="Accuracy by class, the lowest on top.",
            ),
        ),
    )


def _groups(found: Interpretation) -> Section | None:
    """Return the section on groups, or None where most images are groups of their own."""
    table = found.group_table(min_images=FEWEST_OF_A_GROUP)
    if len(table) < 2:
        return None
    return Section(
        key="groups",
        title="Group by group",
        intro=f"{len(table):,} groups have at least {FEWEST_OF_A_GROUP} images here, the least accurate first. The "
        "intervals take a group's images as independent, and are too narrow where they are not.",
        tables=(
            _accuracy_table(
                table.head(MAX_ROWS),
                caption=f"Accuracy by group, the lowest {min(len(table), MAX_ROWS)} of {len(table)}",
            ),
        ),
    )


def _attention(found: Interpretation) -> Section:
    figures = []
    for title, chosen in (
        ("Most incorrect", found.most_incorrect(NUM_ATTENTION)),
        ("Most correct, one of each class", _one_per_class(found.most_correct(10_000), NUM_ATTENTION)),
    ):
        if not chosen:
            continue
        figure = plot_attention(found.attention(chosen), title=title)
        names = "; ".join(f"{one.image_id}: {one.predicted}, actually {one.actual}" for one in chosen)
        figures.append(
            _picture(
                figure,
                alt=f"Grad-CAM, {title.lower()}: {names}",
                caption=f"{title}. First row: what the network saw. Below: what spoke for the class that is named, "
                "yellow the most; an image that is left as it is has nothing that spoke for it. Under each column the "
                "probabilities of these classes.",
                photographs=True,
            )
        )
    return Section(
        key="attention",
        title=_TITLES["attention"],
        intro="Grad-CAM (Selvaraju et al. 2017): the places whose features raised the score of a class. Maps are as "
        "coarse as the network's last features. A network that looks at the background has found a short cut.",
        figures=tuple(figures),
    )


def _one_per_class(chosen: Sequence[Case], k: int) -> tuple[Case, ...]:
    first: dict[str, Case] = {}
    for case in chosen:
        first.setdefault(case.actual, case)
    return tuple(first.values())[:k]


def _filters(found: Interpretation) -> Section:
    layer = found.first_layer_filters()
    return Section(
        key="filters",
        title=_TITLES["filters"],
        intro="What the first layer's units look for in the pixels: usually edges in some direction, and opposite "
        "colours. Noise in most of them is the mark of a network that was trained too shortly, or from too few images.",
        figures=(
            _picture(
                plot_filters(layer),
                alt=f"{len(layer.filters)} filters of {layer.filters.shape[1]} pixels a side.",
                caption=f"The {len(layer.filters)} filters of {layer.name}; grey is a weight of 0.",
            ),
        ),
    )


def _patches(found: Interpretation) -> Section:
    stages, views, image_ids = found.strongest_patches()
    rows = tuple((one.name, one.side, one.num_units, one.receptive_field) for one in stages)
    return Section(
        key="patches",
        title=_TITLES["patches"],
        intro="After Zeiler and Fergus (2014): for some units of each stage, the parts of images that excite them "
        "most. Later stages see more and answer to whole parts of objects. What is shown is the "
        "receptive field as it was measured: the square that holds 95 % of the squared gradient (Luo et al. 2016).",
        tables=(
            SectionTable(
                caption="Stages of the network",
                columns=("stage", "places a side", "units", "receptive field (pixels)"),
                rows=rows,
            ),
        ),
        figures=(
            _picture(
                plot_patches(stages, views, image_ids),
                alt="For four units of each stage the nine image patches that excite them most.",
                caption=f"The units that stand out most on {len(image_ids):,} images that this network had not learned "
                "from; of one image at most one patch.",
                photographs=True,
            ),
        ),
    )


def _map(found: Interpretation) -> Section:
    points = found.embedding_map()
    wrong = sum(a != b for a, b in zip(points.actual, points.predicted, strict=True))
    return Section(
        key="map",
        title=_TITLES["map"],
        intro=f"{len(points.image_ids):,} images by the features that the classifier is given, reduced to "
        f"{points.explained:.0%} of their variance, then laid out by t-SNE. Neighbours look alike to the network; "
        "distances between far groups, and the size of a group, mean nothing.",
        figures=(
            _picture(
                plot_embedding(points),
                alt=f"Points of {len(set(points.actual))} classes; {wrong:,} of {len(points.actual):,} are wrong.",
                caption="Each point is an image, each name the middle of its class, each ring a wrong answer.",
            ),
        ),
    )
