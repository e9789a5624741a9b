"""Another day and another seed, for code that must not care.

Shifts what `time` and `datetime` say and reseeds the global generators, for a while and for the
module that a feature set comes from. What reads the clock by other ways (numpy's ``"now"``, C code)
is not moved; it is still seen when it changes between two calls.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

_LATER: Final = dt.timedelta(days=100, hours=5, minutes=17, seconds=11, microseconds=7)
_LATER_S: Final = _LATER.total_seconds()

_time, _time_ns, _gmtime, _localtime = time.time, time.time_ns, time.gmtime, time.localtime
_datetime, _date = dt.datetime, dt.date


@contextmanager
def other_circumstances(source: object, seed: int) -> Iterator[None]:
    """Let it be another day with other seeds for the module that `source`'s class comes from."""
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one
    np.random.seed(seed + 1)  # noqa: NPY002
    random.seed(seed + 1)
    try:
        with _another_day(source):
            yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)


@contextmanager
def _another_day(source: object) -> Iterator[None]:
    module = sys.modules.get(type(source).__module__)
    holders = [holder for holder in (time, dt, module) if holder is not None]
    places = [
        (holder, name, value)
        for holder in holders
        for name, value in vars(holder).items()
        if id(value) in _SHIFTED
    ]
    try:
        for holder, name, value in places:
            setattr(holder, name, _SHIFTED[id(value)])
        yield
    finally:
        for holder, name, value in places:
            setattr(holder, name, value)


class _Alike(type):
    """Lets moments of the real class pass for the shifted one's."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__mro__[1])


class _Datetime(dt.datetime, metaclass=_Alike):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:  # noqa: ANN401 - of the real class
        return _datetime.now(tz) + _LATER

    @classmethod
    def utcnow(cls) -> Any:  # noqa: ANN401
        return _datetime.now(dt.UTC).replace(tzinfo=None) + _LATER

    @classmethod
    def today(cls) -> Any:  # noqa: ANN401
        return _datetime.now() + _LATER


class _Date(dt.date, metaclass=_Alike):
    @classmethod
    def today(cls) -> Any:  # noqa: ANN401 - of the real class
        return (_datetime.now() + _LATER).date()


def _later(seconds: float | None) -> float:
    return _time() + _LATER_S if seconds is None else seconds


_SHIFTED: Final[dict[int, Any]] = {
    id(_time): lambda: _time() + _LATER_S,
    id(_time_ns): lambda: _time_ns() + int(_LATER_S * 1e9),
    id(_gmtime): lambda seconds=None: _gmtime(_later(seconds)),
    id(_localtime): lambda seconds=None: _localtime(_later(seconds)),
    id(_datetime): _Datetime,
    id(_date): _Date,
}
