"""Images that live on the device: batches are gathered, cropped, turned, warped, mirrored and lit there.

The views are those of `kit.data.augment`: the same drawing (`kit.data.geometry`), done for all images before an epoch
and sent at once, and one bilinear interpolation. A step then needs nothing of the host, and waits for nothing: shapes
of tensors depend on no value of theirs.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kit.config import AugmentConfig
from kit.data.draws import keys_of
from kit.data.geometry import Drawn, draw, matrices
from kit.errors import ConfigError
from kit.store.pack import Pack

SHARE_OF_FREE_MEMORY = 0.6  # that images may take: the rest is for the network and its activations
PIECE = 2**26  # bytes that are sent to the device at once
CUBIC = -0.75  # OpenCV's coefficient of Keys' kernel ("Cubic convolution interpolation", 1981)


@dataclass(frozen=True, kw_only=True)
class DeviceViews:
    """The parameters of one view of each of N images, on the device."""

    matrices: Tensor  # (N, 3, 3) float32: place in the view -> homogeneous place in the stored image, pixels
    boxes: Tensor  # (N, 4) int64: top, left, height, width
    gains: Tensor  # (N,) float32
    biases: Tensor  # (N,) float32, grey levels
    image_size: int  # side of the views, pixels
    upright: bool  # every view is just its box, perhaps mirrored


@dataclass(frozen=True, kw_only=True)
class DeviceImages:
    """N images behind each other in the memory of a device."""

    pixels: Tensor  # (P, 3) uint8, RGB
    offsets: Tensor  # (N,) int64: the first pixel of each
    shapes: Tensor  # (N, 2) int64: height, width
    keys: NDArray[np.uint64]  # (N,) of the images' ids, for drawing
    host_shapes: NDArray[np.int64]  # (N, 2): the shapes, where drawing is done

    @classmethod
    def load(cls, pack: Pack, image_ids: Sequence[str], device: torch.device) -> "DeviceImages":
        """Copy images to the device; image k is `image_ids[k]`. JPEG files are decoded, once.

        Args:
            pack: holds the images.
            image_ids: N ids that it has.
            device: any; `room_for` tells whether it has room.
        """
        rows = [pack.row_of[image_id] for image_id in image_ids]
        shapes = pack.shapes[rows]  # (N, 2)
        ends = np.cumsum(shapes[:, 0] * shapes[:, 1])
        starts = ends - shapes[:, 0] * shapes[:, 1]
        pixels = torch.empty((int(ends[-1]) if rows else 0, 3), dtype=torch.uint8, device=device)
        with ThreadPoolExecutor(_num_cores()) as pool:
            for first, last in _pieces(starts, ends):
                piece = np.empty((ends[last - 1] - starts[first], 3), dtype=np.uint8)

                def put(k: int, piece: NDArray[np.uint8] = piece, begin: int = starts[first]) -> None:
                    piece[starts[k] - begin : ends[k] - begin] = pack.image(rows[k]).reshape(-1, 3)

                list(pool.map(put, range(first, last)))
                pixels[starts[first] : ends[last - 1]] = torch.from_numpy(piece).to(device)
        return cls(
            pixels=pixels,
            offsets=torch.from_numpy(starts).to(device),
            shapes=torch.from_numpy(shapes).to(device),
            keys=keys_of(image_ids),
            host_shapes=shapes,
        )

    def views(self, config: AugmentConfig, *, image_size: int, seed: int, epoch: int) -> DeviceViews:
        """Draw one view of each image: those that `kit.data.augment.training_view` shows.

        Raises:
            ConfigError: `config.transforms` names some, which albumentations makes on the host.
        """
        if config.transforms:
            raise ConfigError(
                "augment.transforms are made by albumentations, on the host. Set images_on to 'host', or to 'auto', "
                "which takes the host for such a recipe; or leave the transforms out."
            )
        drawn = draw(config, keys=self.keys, shapes=self.host_shapes, seed=seed, epoch=epoch)
        return self.upload(drawn, image_size=image_size)

    def upload(self, drawn: Drawn, *, image_size: int) -> DeviceViews:
        """Return the parameters of N views on the device."""
        device = self.pixels.device
        placed = matrices(drawn, self.host_shapes, image_size=image_size).astype(np.float32)
        return DeviceViews(
            matrices=torch.from_numpy(placed).to(device),
            boxes=torch.from_numpy(drawn.boxes).to(device),
            gains=torch.from_numpy(drawn.gains.astype(np.float32)).to(device),
            biases=torch.from_numpy(drawn.biases.astype(np.float32)).to(device),
            image_size=image_size,
            upright=drawn.upright,
        )

    def batch(self, positions: Tensor, views: DeviceViews) -> Tensor:
        """Return the views (B, S, S, 3) float32 in [0, 255] of the images at `positions` (B,) int64, on the device."""
        matrix = views.matrices[positions][:, None, None]  # (B, 1, 1, 3, 3)
        middles = torch.arange(views.image_size, device=positions.device, dtype=torch.float32) + 0.5
        x, y = middles[None, None], middles[None, :, None]  # (1, 1, S), (1, S, 1)
        if views.upright:
            top, left, height, width = views.boxes[positions][:, None, None].unbind(-1)  # (B, 1, 1) each
            x = matrix[..., 0, 0] * x + matrix[..., 0, 2]  # (B, 1, S)
            y = matrix[..., 1, 1] * y + matrix[..., 1, 2]  # (B, S, 1)
            columns, x_share = _neighbours(x)
            rows, y_share = _neighbours(y)
            # Nothing beyond the box is seen, as where a box is cut out and then resized.
            columns = [torch.clamp(each, left, left + width - 1) for each in columns]
            rows = [torch.clamp(each, top, top + height - 1) for each in rows]
        else:
            height, width = self.shapes[positions][:, None, None].unbind(-1)  # (B, 1, 1) each
            depth = matrix[..., 2, 0] * x + matrix[..., 2, 1] * y + matrix[..., 2, 2]  # (B, S, S)
            x, y = (
                (matrix[..., 0, 0] * x + matrix[..., 0, 1] * y + matrix[..., 0, 2]) / depth,
                (matrix[..., 1, 0] * x + matrix[..., 1, 1] * y + matrix[..., 1, 2]) / depth,
            )
            columns, x_share = _neighbours(x)
            rows, y_share = _neighbours(y)
            columns = [_reflected(each, width) for each in columns]
            rows = [_reflected(each, height) for each in rows]
        width = self.shapes[positions][:, 1, None, None]
        starts = [self.offsets[positions][:, None, None] + row * width for row in rows]
        lines = [
            torch.lerp(self.pixels[start + columns[0]].float(), self.pixels[start + columns[1]].float(), x_share)
            for start in starts
        ]
        images = torch.lerp(lines[0], lines[1], y_share)  # (B, S, S, 3)
        gain, bias = (each[positions][:, None, None, None] for each in (views.gains, views.biases))
        return (images * gain + bias).clamp(0, 255)

    def central(self, positions: Tensor, *, image_size: int, crop_share: float) -> Tensor:
        """Return what `kit.data.augment.central_view` shows of the images at `positions` (B,) int64, on the device.

        Both resizings are matrices from rows of pixels to rows of the view: shares of areas where it shrinks, Keys'
        weights where it enlarges. Images of any shape are so resized in one product.

        Returns:
            (B, S, S, 3) float32, whole numbers from 0 to 255.
        """
        longest = max(1, round(int(self.host_shapes.min(axis=1).max()) * crop_share))  # of all images' squares
        shapes = self.shapes[positions]  # (B, 2)
        sides = torch.round(shapes.min(dim=1).values.double() * crop_share).long().clamp(min=1)  # (B,)
        corners = (shapes - sides[:, None]) // 2  # (B, 2): top, left
        along = torch.arange(longest, device=positions.device)
        # A smaller square is filled up with repeated pixels, which get no weight.
        within = torch.minimum(along, sides[:, None] - 1)  # (B, L)
        rows, columns = corners[:, 0, None] + within, corners[:, 1, None] + within
        index = self.offsets[positions][:, None, None] + rows[:, :, None] * shapes[:, 1, None, None] + columns[:, None]
        squares = self.pixels[index].float()  # (B, L, L, 3)
        weights = _weights(sides, image_size=image_size, longest=longest)  # (B, S, L)
        with torch.autocast(positions.device.type, enabled=False):  # bf16 has 8 bits: a grey level would be lost
            shrunk = torch.einsum("bil,blmc->bimc", weights, squares)  # (B, S, L, 3)
            views = torch.einsum("bjm,bimc->bijc", weights, shrunk)  # (B, S, S, 3)
        return views.round().clamp(0, 255)


def room_for(pack: Pack, image_ids: Sequence[str], device: torch.device) -> tuple[bool, str]:
    """Return whether these images should live on the device, and why, in words for a log.

    They should on a CUDA device if they take at most SHARE_OF_FREE_MEMORY of what is free there. Elsewhere the
    device's memory is the host's, and workers make views faster.
    """
    rows = [pack.row_of[image_id] for image_id in image_ids]
    gib = 3 * int(pack.shapes[rows].prod(axis=1).sum()) / 2**30
    if device.type != "cuda":
        return False, f"{len(rows):,} images stay in the pack: the device is {device.type}"
    free = torch.cuda.mem_get_info(device)[0] / 2**30
    fits = gib <= SHARE_OF_FREE_MEMORY * free
    return fits, (
        f"{len(rows):,} images take {gib:.2f} GiB, and {device} has {free:.2f} GiB free: they "
        f"{'live there' if fits else f'stay in the pack, as they may take {SHARE_OF_FREE_MEMORY:.0%} of it'}"
    )


def _neighbours(places: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the two pixels whose middles enclose each place, and the second's share, with a last axis for colours."""
    places = places - 0.5
    first = places.floor()
    return [first.long(), first.long() + 1], (places - first)[..., None]


def _reflected(index: Tensor, length: Tensor) -> Tensor:
    """Return pixels within the image for any: reflected at its edges, which are not doubled."""
    period = (2 * length - 2).clamp(min=1)  # an image of one pixel reflects it everywhere
    index = index.abs() % period
    return torch.minimum(index, (period - index).clamp(min=0)).clamp(max=length - 1)


def _weights(sides: Tensor, *, image_size: int, longest: int) -> Tensor:
    """Return (B, S, L) float32: the share of each pixel of a square's row, of side (B,), in each pixel of the view."""
    scales = (sides.double() / image_size)[:, None, None]  # (B, 1, 1)
    views = torch.arange(image_size, device=sides.device)[None, :, None]  # (1, S, 1)
    pixels = torch.arange(longest, device=sides.device)[None, None]  # (1, 1, L)
    begin, end = views * scales, (views + 1) * scales
    by_area = (torch.minimum(end, pixels + 1) - torch.maximum(begin, pixels)).clamp(min=0) / scales
    places = (views + 0.5) * scales - 0.5  # (B, S, 1)
    first = places.floor()
    last = (sides - 1)[:, None, None]
    cubic = torch.zeros_like(by_area)
    for tap in (-1, 0, 1, 2):
        weight = _keys(places - (first + tap))
        cubic = cubic + weight * (torch.minimum((first + tap).clamp(min=0), last) == pixels)
    return torch.where(scales >= 1, by_area, cubic).float()


def _keys(distance: Tensor) -> Tensor:
    """Return Keys' cubic kernel at a distance of up to 2 pixels."""
    d = distance.abs()
    near = ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1
    far = ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC
    return torch.where(d <= 1, near, far)


def _pieces(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first and one past the last of consecutive images that take about PIECE bytes."""
    first = 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + PIECE // 3, side="right")))
        yield first, last
        first = last


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
