"""Answers: what an exported folder's models say of image files, prepared as the run's own images were."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from kit.data.schema import JOINED
from kit.errors import DataError, WeightsError
from kit.export.folder import ONNX, Export, ExportedModel, checked_file, load_exported, read_export
from kit.store.decode import Image, central_square, printable, read_image, reduced
from kit.store.pack import Pack
from kit.train.inference import Classify, TestViews, average_over_views, predict_probabilities
from kit.train.model import Network

AT_ONCE = 256  # images in memory: 60 MB of photographs with a shorter side of 256 pixels
ONNX_BATCH = 32  # images


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said of one file."""

    path: str  # as given or found, printable
    probabilities: NDArray[np.float32] | None  # (C,); None where the file is no image
    problem: str = ""  # why it is none


@dataclass(frozen=True, kw_only=True)
class Answering:
    """An exported folder with its models in memory."""

    export: Export
    models: tuple[Network | Classify, ...]  # in the order of `export.models`
    device: torch.device


def open_export(folder: Path, *, device: torch.device) -> Answering:
    """Read an exported folder and its models.

    Raises:
        DataError, WeightsError: see `read_export` and `load_exported`.
        ConfigError: the folder has ONNX only, and the extra for it is not installed.
    """
    export = read_export(folder)
    return Answering(export=export, models=tuple(_open(folder, export, one) for one in export.models), device=device)


def _open(folder: Path, export: Export, model: ExportedModel) -> Network | Classify:
    if model.architecture:
        return load_exported(folder, export, model)
    from kit.export.onnx import open_onnx

    return open_onnx(checked_file(folder / model.folder / ONNX, sha256=model.onnx_sha256))


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are meant: each path that is no folder, and all files below each folder, sorted.

    Hidden files and folders below a folder are left out, links to folders are not followed; a file that is meant
    twice is there once.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None
            continue
        for folder, inner, names in os.walk(path):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            found.update((Path(folder) / name, None) for name in sorted(names) if not name.startswith("."))
    return list(found)


def answer(answering: Answering, files: Sequence[Path], *, test_views: TestViews | None = None) -> Iterator[Answer]:
    """Yield one answer per file, in order: the mean probabilities of the folder's models, or why there are none.

    Args:
        answering: from `open_export`.
        files: images, or files that are none.
        test_views: the views of an image whose probabilities are averaged; default: those of the run.

    Raises:
        WeightsError: a model answers with something that is no probability.
    """
    left = iter(files)
    while chunk := list(islice(left, AT_ONCE)):
        images = _read(chunk, answering.export)
        ids = {row: f"{row}: {chunk[row]}" for row, image in enumerate(images) if not isinstance(image, str)}
        pack = _pack_of({ids[row]: image for row, image in enumerate(images) if not isinstance(image, str)})
        probabilities = _predict(answering, pack, list(ids.values()), test_views or answering.export.test_views)
        row_of = {row: k for k, row in enumerate(ids)}
        for row, (path, image) in enumerate(zip(chunk, images, strict=True)):
            shown = printable(str(path))
            if isinstance(image, str):
                yield Answer(path=shown, probabilities=None, problem=image)
            else:
                yield Answer(path=shown, probabilities=probabilities[row_of[row]])


def label_of(probabilities: NDArray[np.float32], export: Export) -> str:
    """Return the most probable class; where an image may have several, all above 1/2, joined as in the sample table."""
    if export.activation == "sigmoid":
        return JOINED.join(name for name, p in zip(export.classes, probabilities, strict=True) if p > 0.5)
    return export.classes[int(probabilities.argmax())]


def _read(files: Sequence[Path], export: Export) -> list[Image | str]:
    """Return each file as the run's pack would hold it, or the reason why it cannot be read."""

    def one(path: Path) -> Image | str:
        try:
            image = read_image(path, shorter_side=export.store_size)
        except DataError as error:
            return str(error)
        except MemoryError:
            return f"{printable(str(path))} needs more memory than there is."
        if export.store_layout == "square":
            return central_square(image, export.store_size)
        return reduced(image, export.store_size)

    # Filters are the process's: set here, where one thread runs. What is wrong with a file is said by our errors.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(one, files))


def _pack_of(images: dict[str, Image]) -> Pack:
    """Return images by id as a pack in memory."""
    offsets = np.cumsum([0, *(image.size for image in images.values())], dtype=np.int64)
    return Pack(
        pixels=np.concatenate([np.empty(0, dtype=np.uint8), *(image.reshape(-1) for image in images.values())]),
        offsets=offsets,
        shapes=np.array([image.shape[:2] for image in images.values()], dtype=np.int64).reshape(-1, 2),
        row_of={image_id: row for row, image_id in enumerate(images)},
        folder=Path(),
    )


def _predict(answering: Answering, pack: Pack, image_ids: list[str], test_views: TestViews) -> NDArray[np.float32]:
    export = answering.export
    total = np.zeros((len(image_ids), len(export.classes)))
    for model, about in zip(answering.models, export.models, strict=True):
        if isinstance(model, Network):
            found = predict_probabilities(
                model,
                pack,
                pd.DataFrame({"image_id": image_ids}),
                image_size=export.image_size,
                test_crop=about.crop_share,
                activation=export.activation,
                test_views=test_views,
                augment=export.augment,
                seed=export.seed,
                device=answering.device,
            )
        else:
            found = average_over_views(
                model,
                pack,
                image_ids,
                positions=np.arange(len(image_ids)),
                image_size=export.image_size,
                crop_share=about.crop_share,
                test_views=test_views,
                augment=export.augment,
                seed=export.seed,
                batch_size=ONNX_BATCH,
            )
        if found.shape != total.shape or not np.isfinite(found).all():
            raise WeightsError(
                f"{about.folder} answers with an array {found.shape}, or with numbers that are none, where "
                f"probabilities {total.shape} were expected: it is damaged, or of something else. Export it again."
            )
        total += found
    mean: NDArray[np.float32] = (total / len(export.models)).astype(np.float32)
    return mean
