"""The digits that the example learns from, and pictures turned into such digits.

scikit-learn's digits are 32×32 scans of single handwritten digits, white ink on black, of which every 4×4
block became one pixel: 0 where there is no ink, 16 where it is full of ink.
"""

import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from sklearn import datasets

__all__ = ["SIDE", "load_digits", "read_picture", "scale_picture"]

SIDE = 8
"""Pixels of a digit in either direction."""

LEVELS = 16
"""What a pixel full of ink is."""

FAINT = 0.25
"""Share of full white below which a pixel is no ink, when the edges of the ink are looked for."""

MAX_PIXELS = 40_000_000
"""Pictures with more are refused: a small file can hold a huge picture."""


def load_digits(without: int | None = None) -> pd.DataFrame:
    """scikit-learn's 1,797 handwritten digits: 64 columns ``pixel_0``, ``pixel_1`` …, and ``digit``.

    Args:
        without: A digit that is left out, to see what becomes of one that was never learned.
    """
    pixels, labels = datasets.load_digits(return_X_y=True)
    frame = pd.DataFrame(pixels, columns=[f"pixel_{place}" for place in range(SIDE * SIDE)])
    frame["digit"] = labels
    return frame if without is None else frame[labels != without].reset_index(drop=True)


def read_picture(content: bytes) -> "np.ndarray[Any, Any]":
    """Turns a picture file (PNG, JPEG …) into an 8×8 array of whole numbers from 0 to 16, as floats.

    Colors become shades of grey, and what is transparent becomes black. A picture of 8×8 pixels is taken as
    it is; of a larger one the part with ink is cut out, made square with black at its sides, and averaged
    down, since the digits learned from fill their square. Nothing is inverted: ink is what is light.

    Raises:
        ValueError: It is no picture, or has too many pixels.
    """
    try:
        picture = Image.open(io.BytesIO(content))
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"The picture has more than {MAX_PIXELS:,} pixels.")
        layers = picture.convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError("This is no picture that can be read.") from error
    black = Image.new("RGBA", layers.size, (0, 0, 0, 255))
    grey = np.asarray(Image.alpha_composite(black, layers).convert("L"), dtype=np.float64) / 255
    return scale_picture(grey if grey.shape == (SIDE, SIDE) else _cut_ink(grey))


def scale_picture(grey: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Averages shades from 0 to 1, of any size, down (or up) to 8×8 levels from 0 to 16."""
    picture = Image.fromarray(grey.astype(np.float32))
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    levels: np.ndarray[Any, Any] = np.rint(np.asarray(small, dtype=np.float64) * LEVELS)
    return levels


def _cut_ink(grey: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The smallest rectangle with all the ink, made square; all of a picture without any."""
    rows, columns = (np.flatnonzero((grey > FAINT).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return grey
    ink = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ink.shape
    side = max(height, width)
    square = np.zeros((side, side))
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = ink
    return square
