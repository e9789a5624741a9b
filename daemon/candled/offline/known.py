"""What a bundle's training has seen of a candle file, so that nothing of it is taken for a test."""

from __future__ import annotations

from typing import Any

from candled.core.bar import Bars, Interval
from candled_adapters.artifacts.bundle import Bundle


def last_trained(bundle: Bundle, bars: Bars, given: int | None) -> int | None:
    """Return the open time of the last bar that was trained on (UTC ms), None where nobody knows.

    What is `given` goes first, then what the bundle says. The notebook's files say only how many
    rows trained and how many tested: enough when `bars` have as many.
    """
    if given is not None:
        return given
    told = bundle.manifest.provenance
    train: Any = told.get("train")
    if isinstance(train, dict):
        last: int | None = train.get("last_open_time")
        return last
    trained, tested = told.get("train_samples"), told.get("test_samples")
    first = bundle.model.features.window - 1
    if not isinstance(trained, int) or not isinstance(tested, int):
        return None
    if trained < 1 or first + trained + tested != len(bars):
        return None
    return int(bars.open_time[first + trained - 1])


def known_until(bundle: Bundle, bars: Bars, given: int | None) -> int | None:
    """Return the open of the last bar that the training knew of, its last label's future included.

    That future is as long as the label's lookahead; a bundle without one says nothing about it.
    """
    last, target = last_trained(bundle, bars, given), bundle.model.target
    if last is None or target is None:
        return last
    return Interval(bundle.model.interval).back(last, -target.lookahead_bars)
