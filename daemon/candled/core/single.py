"""Numbers that are float32 at heart, for messages: the fewest digits that give back the bits."""

from __future__ import annotations

import numpy as np


def shortest(value: float) -> float:
    """Return the double with the shortest text that still reads back as this float32.

    0.6122999787330627 becomes 0.6123. A value that is not a float32, or whose short text would
    come back as another one, is returned as it is.
    """
    single = np.float32(value)
    short = float(str(single))
    return short if single == value and np.float32(short) == single else value
