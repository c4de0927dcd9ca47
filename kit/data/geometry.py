"""What is drawn for a random view: where in the stored image it lies, and how light it is.

One drawing serves both ways of making views, on the CPU (`kit.data.augment`) and on a device
(`kit.train.device_images`). Places are in pixels of the stored image, x to the right and y down; pixel k reaches from
k to k + 1. The view lies so: a box in the image turned about its centre; its corners moved; left and right exchanged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.config import AugmentConfig
from kit.data.draws import uniforms

ATTEMPTS = 10  # at a box that fits the image, as in torchvision
SLENDEREST = 0.2  # of the moved box: twice the smallest triangle of three neighbouring corners, as a share of the box

UNIT_SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])  # clockwise from the top left: x, y

# Which number of an image's stream is for what.
AREAS, ASPECTS = slice(0, ATTEMPTS), slice(ATTEMPTS, 2 * ATTEMPTS)
TOP, LEFT, MIRROR, DEGREES, BRIGHTNESS, CONTRAST = range(2 * ATTEMPTS, 2 * ATTEMPTS + 6)
MOVES = slice(CONTRAST + 1, CONTRAST + 9)
NUM_DRAWS = MOVES.stop


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The parameters of N views."""

    boxes: NDArray[np.int64]  # (N, 4): top, left, height, width; within the image
    mirrored: NDArray[np.bool_]  # (N,)
    degrees: NDArray[np.float64] | None  # (N,) by which the image is turned about its centre; None: it is not
    moves: NDArray[np.float64] | None  # (N, 4, 2) by which the box's corners move, in its widths and heights; None: not
    gains: NDArray[np.float64]  # (N,)
    biases: NDArray[np.float64]  # (N,) grey levels; a pixel of value v becomes gain * v + bias

    @property
    def upright(self) -> bool:
        """Whether every view is just its box."""
        return self.degrees is None and self.moves is None


def draw(config: AugmentConfig, *, keys: NDArray[np.uint64], shapes: NDArray[np.int64], seed: int, epoch: int) -> Drawn:
    """Return the parameters of one view of each image.

    The box is that of torchvision's RandomResizedCrop: area uniform, aspect uniform in its logarithm, drawn again up
    to ten times until it fits, else the largest central one of an allowed aspect. Light is albumentations'
    RandomBrightnessContrast: a factor for contrast, a share of 255 added for brightness. Corners move as `warp` says,
    each coordinate uniform; a quadrangle that is nearly a triangle gets half the moves, for it would be stretched
    without bounds.

    Args:
        config: ranges; its `transforms` are no part of this.
        keys: (N,) of the images, from `kit.data.draws.keys_of`.
        shapes: (N, 2) heights and widths of the stored images, pixels.
        seed: with the epoch and the key it decides everything.
        epoch: see `seed`.
    """
    uniform = uniforms(keys, seed=seed, epoch=epoch, num=NUM_DRAWS)
    return Drawn(
        boxes=_boxes(config, uniform, shapes),
        mirrored=uniform[:, MIRROR] < (0.5 if config.mirror else 0.0),
        degrees=_centred(uniform[:, DEGREES], config.rotate_degrees) if config.rotate_degrees else None,
        moves=_moves(_centred(uniform[:, MOVES], config.warp).reshape(-1, 4, 2)) if config.warp else None,
        gains=1 + _centred(uniform[:, CONTRAST], config.contrast),
        biases=255 * _centred(uniform[:, BRIGHTNESS], config.brightness),
    )


def matrices(drawn: Drawn, shapes: NDArray[np.int64], *, image_size: int) -> NDArray[np.float64]:
    """Return (N, 3, 3): matrix @ (x, y, 1) in a view of `image_size` pixels a side is the place in the stored image.

    The result is homogeneous: its first two parts are to be divided by the third.
    """
    corners = _corners(drawn, shapes)
    # The map of the unit square to a quadrangle: Heckbert, "Fundamentals of texture mapping and image warping", 1989.
    first, right, opposite, below = (corners[:, k] for k in range(4))  # (N, 2) each
    across, down = right - opposite, below - opposite
    excess = first - right + opposite - below  # 0 for a parallelogram
    area = _cross(across, down)
    g, h = _cross(excess, down) / area, _cross(across, excess) / area
    found = np.empty((len(corners), 3, 3))
    found[:, :2, 0] = right - first + g[:, None] * right
    found[:, :2, 1] = below - first + h[:, None] * below
    found[:, :2, 2] = first
    found[:, 2] = np.stack([g, h, np.ones_like(g)], axis=1)
    found[:, :, :2] /= image_size
    return found


def _centred(uniform: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return numbers uniform in [-limit, limit)."""
    return (2 * uniform - 1) * limit


def _boxes(config: AugmentConfig, uniform: NDArray[np.float64], shapes: NDArray[np.int64]) -> NDArray[np.int64]:
    heights, widths = shapes[:, 0], shapes[:, 1]
    areas = (heights * widths)[:, None] * (config.smallest_crop + (1 - config.smallest_crop) * uniform[:, AREAS])
    widest = config.widest_aspect
    roots = np.exp(0.5 * _centred(uniform[:, ASPECTS], np.log(widest)))  # square roots of the aspects
    sides = np.sqrt(areas)
    tried = np.rint(np.stack([sides / roots, sides * roots])).astype(np.int64)  # (2, N, ATTEMPTS): heights, widths
    fits = ((tried > 0) & (tried <= shapes.T[:, :, None])).all(axis=0)
    chosen = fits.argmax(axis=1)  # the first that fits
    box_heights, box_widths = tried[:, np.arange(len(chosen)), chosen]
    none = ~fits[np.arange(len(chosen)), chosen]
    if none.any():
        box_heights = np.where(none, np.clip(np.rint(widths * widest), 1, heights).astype(np.int64), box_heights)
        box_widths = np.where(none, np.clip(np.rint(heights * widest), 1, widths).astype(np.int64), box_widths)
    tops = np.where(
        none, (heights - box_heights) // 2, (uniform[:, TOP] * (heights - box_heights + 1)).astype(np.int64)
    )
    lefts = np.where(none, (widths - box_widths) // 2, (uniform[:, LEFT] * (widths - box_widths + 1)).astype(np.int64))
    return np.stack([tops, lefts, box_heights, box_widths], axis=1)


def _moves(moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the moves, halved where the moved unit square is too slender; moves up to 0.2 never make it so."""
    moved = UNIT_SQUARE + moves
    triangles = _cross(np.roll(moved, -1, axis=1) - moved, np.roll(moved, 1, axis=1) - moved)  # (N, 4)
    slender = triangles.min(axis=1) < SLENDEREST
    return np.where(slender[:, None, None], moves / 2, moves)


def _corners(drawn: Drawn, shapes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (N, 4, 2): where in the stored image the view's corners lie, clockwise from its top left."""
    places = UNIT_SQUARE if drawn.moves is None else UNIT_SQUARE + drawn.moves
    corners = drawn.boxes[:, None, [1, 0]] + places * drawn.boxes[:, None, [3, 2]]
    if drawn.degrees is not None:
        turns = np.deg2rad(drawn.degrees)[:, None]
        cosines, sines = np.cos(turns), np.sin(turns)
        centres = shapes[:, None, ::-1] / 2
        x, y = np.moveaxis(corners - centres, 2, 0)
        corners = centres + np.stack([cosines * x - sines * y, sines * x + cosines * y], axis=2)
    return np.where(drawn.mirrored[:, None, None], corners[:, [1, 0, 3, 2]], corners)


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    cross: NDArray[np.float64] = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    return cross
