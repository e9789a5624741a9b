"""Small real models for tests: trained on seeded synthetic candles, once for a whole test run.

The training is the lab's own with fewer trees; nothing is made up by hand.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import tempfile
from pathlib import Path

from candled.core.bar import Stream
from candled.core.decision import Policy
from candled.core.engine import Lane
from candled.core.model import Model, ModelSpec
from candled.offline.threads import quiet_threads
from candled_adapters.artifacts.bundle import write_bundle
from candles import candles

THRESHOLD = 0.42  # low, so that a few hundred bars hold dozens of signals of both sides
TREES = 20


def spec(seed: int = 1) -> ModelSpec:
    """Return what training for BTCUSDT 1h on 1,000 candles, which hold all three classes, gives."""
    return _trained(seed)


@functools.cache
def _trained(seed: int) -> ModelSpec:
    quiet_threads()
    from candled.lab.notebook import train_notebook  # noqa: PLC0415 - after OpenMP has been told

    return train_notebook(
        candles(1000, seed),
        "BTCUSDT",
        "1h",
        created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        threshold=THRESHOLD,
        estimators=TREES,
    ).spec


def changed(**fields: object) -> ModelSpec:
    """Return the model's description with other values in some fields."""
    return dataclasses.replace(spec(), **fields)


def model(seed: int = 1) -> Model:
    """Return the model as it comes out of a bundle."""
    return _written(seed)[0]


@functools.cache
def _written(seed: int) -> tuple[Model, dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        written = write_bundle(spec(seed), Path(folder) / "bundle")
        return written.model, {file.name: file.read_bytes() for file in written.path.iterdir()}


def bundle(folder: Path, seed: int = 1) -> Path:
    """Put a bundle for BTCUSDT 1h into a new `folder`; return the folder."""
    folder.mkdir(parents=True)
    for name, content in _written(seed)[1].items():
        (folder / name).write_bytes(content)
    return folder


def lane(stream: Stream, *, seed: int = 1, **policy: object) -> Lane:
    """Return a lane with the model's threshold unless `policy` has another one."""
    settings = {"threshold": THRESHOLD, **policy}
    return Lane(stream, model(seed), Policy(**settings))
