"""The run: one part after the other, so that none is in the way of another."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from candled.bench.children import BenchError
from candled.bench.learning.facts import Candles, Part, same
from candled.bench.learning.timing import timed_alone
from candled.bench.machine import machine, progress
from candled.core.bar import Interval
from candled.core.features.mar import MAR
from candled.core.model import Model, ModelSpec
from candled.lab.recipe import Recipe
from candled.lab.verify import verify
from candled.offline.files import candles_of
from candled.offline.threads import quiet_threads
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import write_bundle
from candled_adapters.simulator.generator import generate, label

SCHEMA: Final = "candled.bench.learning/1"
_INTERVAL: Final = Interval("1h")
_SEED: Final = 13


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """What to measure, and on how much."""

    candles: Path | None = None
    """None: synthetic ones, of `bars` bars."""
    streamed_rows: int = 200_000
    """Of the table that is streamed into a file; 0 leaves it out."""
    bars: int = 38_000
    label_rows: int = 50_000
    """Labelled; synthetic bars where the candles are fewer."""
    live_bars: int = 40
    replayed_bars: int = 6_000
    swept: tuple[int, int] = (200, 10)
    """Thresholds, costs."""
    rounds: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    estimators: int = 200
    """Boosting rounds of the notebook's training."""
    verified_rows: int = 48
    """About how many rows the checks look at that cannot look at all."""

    def check(self) -> None:
        """Raise BenchError for what cannot be measured here."""
        if self.streamed_rows and importlib.util.find_spec("pyarrow") is None:
            raise BenchError(
                "streaming a table needs pyarrow: pip install 'candled[parquet]', or --rows 0"
            )


def measure_learning(plan: LearningPlan) -> dict[str, Any]:
    """Measure everything; return plain JSON values. Some minutes.

    Raises BenchError, CandleFileError, and TrainingError for candles that nothing can learn from.
    """
    plan.check()
    candles = _candles(plan)
    load = os.getloadavg()
    parts = []
    with tempfile.TemporaryDirectory(prefix="candled-bench-") as name:
        for part in _parts(plan, candles, Path(name)):
            parts.append(part)
            progress(_line(part))
    return summary(candles, parts, load, os.getloadavg())


def summary(
    candles: Candles, parts: Sequence[Part], before: Sequence[float], after: Sequence[float]
) -> dict[str, Any]:
    """Put the parts together as plain JSON values, with the machine's load before and after."""
    return {
        "schema": SCHEMA,
        "machine": machine() | {"load_before": list(before), "load_after": list(after)},
        "candles": {"name": candles.name, "bars": len(candles.bars)},
        "agree": all(one.ok for part in parts for one in part.agreements),
        "parts": [part.as_json() for part in parts],
    }


def _candles(plan: LearningPlan) -> Candles:
    if plan.candles is None:
        return _synthetic(plan.bars)
    file = candles_of(plan.candles, None)
    least = MAR.history + plan.live_bars
    if len(file.bars) <= least:
        raise BenchError(
            f"{plan.candles}: holds {len(file.bars)} bars; the bench needs more than {least}: "
            "give a longer file"
        )
    return Candles(file.bars, file.interval, plan.candles.name)


def _synthetic(bars: int) -> Candles:
    made = generate(_SEED, _INTERVAL, synthetic_start(_INTERVAL), bars)
    return Candles(made, _INTERVAL, label(_SEED))


def _parts(plan: LearningPlan, candles: Candles, folder: Path) -> Iterator[Part]:
    quiet_threads()
    from candled.bench.learning import (  # noqa: PLC0415 - after it
        deciding,
        features,
        labels,
        streaming,
        trading,
        training,
    )

    enough = len(candles.bars) >= plan.label_rows
    labelled = candles.newest(plan.label_rows) if enough else _synthetic(plan.label_rows)
    yield labels.window_part(labelled, plan.rounds)
    yield labels.touch_part(labelled, plan.rounds)
    yield features.table_part(candles, plan.rounds)
    yield features.live_part(candles, plan.live_bars)
    if plan.streamed_rows:
        yield streaming.streaming_part(plan.streamed_rows, folder)
    yield from training.honest_parts(candles, plan.recipe)
    spec, trained = training.notebook_part(candles, plan.estimators)
    yield trained
    model = _model(spec, folder)
    decisions, replayed = deciding.history_part(candles, model)
    yield replayed
    yield deciding.replay_part(candles, model, plan.replayed_bars, plan.rounds)
    yield trading.sweep_part(candles, decisions, plan.swept, plan.rounds)
    yield _verify_part(candles, model, plan.verified_rows)


def _model(spec: ModelSpec, folder: Path) -> Model:
    return write_bundle(spec, folder / "bundle").model


def _verify_part(candles: Candles, model: Model, rows: int) -> Part:
    """Verify the features and the model: no bit differs."""
    done, seconds, cpu_s = timed_alone(
        lambda: verify(MAR, candles.bars, candles.interval, model=model, samples=rows)
    )
    differing = sum(max(1, finding.cells) for finding in done.findings)
    return Part(
        f"verify, {len(done.checks)} checks",
        len(candles.bars),
        candles.name,
        {"candled": [seconds]},
        (same("cells", done.cells, differing),),
        {"CPU s": cpu_s},
    )


def _line(part: Part) -> str:
    taken = ", ".join(f"{way} {seconds:.4g} s" for way, seconds in part.medians.items())
    unlike = [one.what for one in part.agreements if not one.ok]
    return f"{part.name}: {taken}" + (f"; NOT THE SAME: {', '.join(unlike)}" if unlike else "")
