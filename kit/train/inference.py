"""Inference: a network's probabilities of many images, over several views of each, in batches that fit the memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kit.config import AugmentConfig, Recipe
from kit.data.augment import central_view, training_view
from kit.data.loader import load_batches
from kit.errors import NoMemoryError
from kit.progress import Counter, Say, silent
from kit.store.pack import Pack
from kit.train.checkpoint import Checkpoint
from kit.train.device_images import DeviceImages
from kit.train.loss import Activation, probabilities_of
from kit.train.memory import give_freed_memory_back, is_out_of_memory, keep_freed_memory
from kit.train.model import InputSpec, Network, normalise

TestViews = Literal["single", "mirror", "lesson", "dihedral"]  # see kit.config.InputConfig.test_views
Classify = Callable[[Tensor], Tensor]  # (B, S, S, 3) RGB in [0, 255] -> (B, C) float32 probabilities

# fast.ai's `Learner.tta`: the mean of four random training views counts three times as much as the centre.
RANDOM_VIEWS = 4
CENTRE_SHARE = 0.25

CPU_PIXELS = 2**21  # of a batch: 128 images of 128 pixels, 41 of 224, so that larger ones take no more memory
CUDA_PIXELS = 2**25  # of a batch, which the loader holds several of: 100 MB each
LARGEST_BATCH = 512  # images; larger batches are no faster
PROBE = 8  # images, of the batch by which a GPU's memory is measured


def mixed_precision(device: torch.device) -> tuple[Callable[[], AbstractContextManager[Any]], torch.amp.GradScaler]:
    """Return the autocast context and the loss scaler for `device`.

    A CPU stays with float32: bf16 is emulated on most, 10 to 30 times slower. A GPU takes bf16 where its
    hardware has it, else float16 with a scaled loss.
    """
    if device.type != "cuda":
        return nullcontext, torch.amp.GradScaler("cpu", enabled=False)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.bfloat16 if has_bf16 else torch.float16
    return (
        lambda: torch.autocast("cuda", dtype=dtype),
        torch.amp.GradScaler("cuda", enabled=not has_bf16),
    )


def predict_probabilities(
    network: Network,
    pack: Pack,
    table: pd.DataFrame,
    *,
    image_size: int,
    test_crop: float,
    activation: Activation,
    test_views: TestViews = "single",
    augment: AugmentConfig | None = None,
    seed: int = 0,
    device: torch.device,
    batch_size: int | None = None,
    shard: tuple[int, int] = (0, 1),
    on_device: DeviceImages | None = None,
    say: Say = silent,
) -> NDArray[np.float32]:
    """Return (N, C) float32 class probabilities of the rows of `table`, in its order.

    Args:
        network: trained.
        pack: holds the images.
        table: rows with `image_id`.
        image_size: side of the square the network sees, pixels.
        test_crop: share of the shorter side that is seen; 0 = the network's own.
        activation: what makes probabilities of logits; of all but "sigmoid" a row sums to 1.
        test_views: the views of an image whose probabilities are averaged.
        augment: the random views of "lesson"; default: a recipe's default.
        seed: of the random views, which depend on (seed, number of the view, image id) alone.
        device: where to compute.
        batch_size: images at once; default: by the memory. A GPU that runs out of it gets fewer.
        shard: (rank, world): only rows rank, rank + world, ... are predicted and returned, in their order.
        on_device: the images of `table`, row by row, where they are in the device's memory; else `pack` is read.
        say: is told how far it is.

    Raises:
        NoMemoryError: the device has no memory for a single image.
    """
    if device.type == "cpu":
        keep_freed_memory()
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.eval()
    rank, world = shard
    with torch.inference_mode():
        classify = _Classifier(module, network.input, activation=activation, device=device)
        return average_over_views(
            classify,
            pack,
            table["image_id"].tolist(),
            positions=np.arange(len(table))[rank::world],
            image_size=image_size,
            crop_share=test_crop or network.input.crop_pct,
            test_views=test_views,
            augment=augment or AugmentConfig(),
            seed=seed,
            on_device=on_device,
            batch_size=batch_size or _batch_size(classify, image_size=image_size, device=device),
            say=say,
        )


def answers(
    checkpoint: Checkpoint,
    pack: Pack,
    table: pd.DataFrame,
    *,
    recipe: Recipe,
    device: torch.device,
    shard: tuple[int, int] = (0, 1),
    say: Say = silent,
) -> NDArray[np.float32]:
    """Return (N, C) float32: what a trained network answers to the rows of `table`, seen as its recipe says.

    The arguments are those of `predict_probabilities`.
    """
    return predict_probabilities(
        checkpoint.network,
        pack,
        table,
        image_size=recipe.input.image_size,
        test_crop=recipe.input.test_crop,
        activation=checkpoint.activation,
        test_views=recipe.input.test_views,
        augment=recipe.augment,
        seed=recipe.seed,
        device=device,
        shard=shard,
        say=say,
    )


def average_over_views(
    classify: Classify,
    pack: Pack,
    image_ids: Sequence[str],
    *,
    positions: NDArray[np.int64],
    image_size: int,
    crop_share: float,
    test_views: TestViews,
    augment: AugmentConfig,
    seed: int,
    batch_size: int,
    on_device: DeviceImages | None = None,
    say: Say = silent,
) -> NDArray[np.float32]:
    """Return (N, C) float32: the mean probabilities of the views of the images at `positions`, in that order.

    Args:
        classify: gives the probabilities of a batch.
        pack: holds the images.
        image_ids: ids of the caller's table; positions index it.
        positions: (N,) which images.
        image_size: side of a view, pixels.
        crop_share: share of the shorter side that the central view shows.
        test_views: "single": the central view; "mirror": it and its mirror image; "dihedral": its eight turns and
            reflections; "lesson": the central view with weight 0.25, four random ones with 0.75 in all (fast.ai's tta).
        augment: the random views of "lesson".
        seed: of the random views.
        batch_size: images at once.
        on_device: the images of `image_ids`, one by one, where they are in the device's memory; else `pack` is read.
        say: is told how far it is.
    """
    if not len(positions):
        return classify(torch.zeros(1, image_size, image_size, 3, dtype=torch.uint8)).cpu().numpy()[:0]

    def seen(number: int) -> Iterator[Tensor]:
        """Yield the batches of the central view, number 0, or of one of the random ones."""
        if on_device is not None:
            views = on_device.views(augment, image_size=image_size, seed=seed, epoch=number) if number else None
            for part in torch.split(torch.from_numpy(positions).to(on_device.pixels.device), batch_size):
                if views is None:
                    yield on_device.central(part, image_size=image_size, crop_share=crop_share)
                else:
                    yield on_device.batch(part, views)
            return
        view = (
            training_view(augment, image_size=image_size, seed=seed)
            if number
            else central_view(image_size=image_size, crop_share=crop_share)
        )
        batches = load_batches(
            pack, image_ids=image_ids, positions=positions, batch_size=batch_size, view=view, epoch=number
        )
        for batch in batches:
            yield torch.from_numpy(batch.images)

    def mean_over(number: int, turned: Callable[[Tensor], Iterator[Tensor]]) -> NDArray[np.float32]:
        found = []
        for images in seen(number):
            of_views = [classify(view) for view in turned(images)]
            found.append(torch.stack(of_views).mean(dim=0).cpu())  # (B, C)
            counter.add(len(images))
        return torch.cat(found).numpy()

    views = 1 + RANDOM_VIEWS if test_views == "lesson" else 1
    unit = "images" if views == 1 else "views of images"
    with Counter("predicting", total=views * len(positions), unit=unit, say=say) as counter:
        centre = mean_over(0, _TURNED.get(test_views, _as_it_is))
        if test_views != "lesson":
            return centre
        total = np.zeros_like(centre)
        for number in range(1, RANDOM_VIEWS + 1):
            total += mean_over(number, _as_it_is)
    return (CENTRE_SHARE * centre + (1 - CENTRE_SHARE) * total / RANDOM_VIEWS).astype(np.float32)


def _as_it_is(images: Tensor) -> Iterator[Tensor]:
    yield images


def _and_mirrored(images: Tensor) -> Iterator[Tensor]:
    yield images
    yield images.flip(2)  # (B, S, S, 3): left and right


def _in_eight_ways(images: Tensor) -> Iterator[Tensor]:
    for quarters in range(4):
        yield from _and_mirrored(images.rot90(quarters, dims=(1, 2)))


_TURNED = {"mirror": _and_mirrored, "dihedral": _in_eight_ways}


class _Classifier:
    """Images to probabilities on a device; where its memory does not suffice, in smaller parts from then on."""

    def __init__(self, module: nn.Module, spec: InputSpec, *, activation: Activation, device: torch.device) -> None:
        self._module, self._spec, self._activation, self._device = module, spec, activation, device
        self._precision, _ = mixed_precision(device)
        self._limit = LARGEST_BATCH

    def __call__(self, images: Tensor) -> Tensor:
        """Return (B, C) float32 probabilities of images (B, S, S, 3), uint8 or float32."""
        images = images.to(self._device)
        found: list[Tensor] = []
        done = 0
        while done < len(images):
            part = images[done : done + self._limit]
            probabilities = self._of(part)
            if probabilities is None:
                self._limit = len(part) // 2
                if not self._limit:
                    raise NoMemoryError(
                        f"{self._device} has no memory left for one image of {images.shape[1]} x {images.shape[2]} "
                        "pixels. End what else uses it, choose another device (--set device=cpu), or a smaller "
                        "network or input.image_size."
                    )
                give_freed_memory_back(self._device)
                continue
            found.append(probabilities)
            done += len(part)
        return torch.cat(found)

    def _of(self, images: Tensor) -> Tensor | None:
        """Return the probabilities, or None where memory ran out: its error would keep what it could not use."""
        try:
            with self._precision():
                logits = self._module(normalise(images, self._spec))
            return probabilities_of(logits, activation=self._activation)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None


def _batch_size(classify: Classify, *, image_size: int, device: torch.device) -> int:
    """Return how many images fit: on a CPU by their pixels, on a GPU at most half of its free memory, as measured.

    It is a power of two, or bounded by a constant, so that small differences of free memory change no rounding.
    """
    if device.type != "cuda":
        return max(1, min(LARGEST_BATCH, CPU_PIXELS // image_size**2))
    _peaks_before_resets[_number(device)] = peak_bytes(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    classify(torch.zeros(PROBE, image_size, image_size, 3, dtype=torch.uint8))
    bytes_per_image = (torch.cuda.max_memory_allocated(device) - before) / PROBE
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # kept by PyTorch for us
    fitting = int(free / 2 / max(1.0, bytes_per_image))
    return max(1, min(LARGEST_BATCH, CUDA_PIXELS // image_size**2, 1 << max(0, fitting.bit_length() - 1)))


_peaks_before_resets: dict[int, int] = {}  # by the number of the GPU


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes that were allocated on a GPU at once; measuring a batch does not make it forget."""
    since = int(torch.cuda.max_memory_allocated(device))
    return max(_peaks_before_resets.get(_number(device), 0), since)


def _number(device: torch.device) -> int:
    return int(torch.cuda.current_device() if device.index is None else device.index)
