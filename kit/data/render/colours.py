"""Colours: numbers from 0 to 1 become colours that rise in lightness, read alike with any colour vision.

The map is viridis (Smith and van der Walt, 2015; CC0), as OpenCV has it. Equal steps of a number look like equal steps,
and a grey copy of a picture keeps their order.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]  # (..., 3), RGB


@cache
def viridis() -> Colours:
    """Return the 256 colours of the map, (256, 3) uint8 RGB, from dark to light."""
    import cv2

    table: Colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_VIRIDIS)[0, :, ::-1].copy()
    table.setflags(write=False)
    return table


def coloured(values: NDArray[np.float64], *, darkest: int = 0) -> Colours:
    """Return the colour of each value, (..., 3) uint8 RGB.

    Args:
        values: any shape; 0 is dark, 1 is light, what lies beyond is drawn as the end.
        darkest: index of the colour for 0, in [0, 255]: above 0 where the darkest must stand out from black.
    """
    indices = darkest + np.rint(np.clip(values, 0, 1) * (255 - darkest)).astype(np.int64)
    return viridis()[indices]
