"""What the shorter scenes have in common: a small world, its verdict, and the verdict's row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from candled.core.decision import SIDES
from candled.lab.predict import predict
from candled.ports import Entry
from candled_adapters.artifacts.bundle import load_bundle
from chaos.figures import Row
from chaos.logs import moment_ns, since
from chaos.plan import SEED
from chaos.programs import until
from chaos.verdict import Verdict, judge
from chaos.world import PATIENCE_S, Stage, World, stage, world

BARS, BARS_PER_SECOND = 1_500, 8.0
TITLE = "lost; told twice; out of order; acted upon late"


def played(folder: Path, seed: int, **options: Any) -> Any:
    made = stage(folder, seed=SEED + seed, bars=BARS, bars_per_second=BARS_PER_SECOND)
    return world(made, **options)


def verdict_of(w: World) -> Verdict:
    return judge([one.id for one in w.owed()], w.told())


def told(what: str, verdict: Verdict, wanted: str = "0; 0; 0; 0") -> Row:
    """Return the row of a scenario."""
    found = (len(verdict.lost), verdict.doubled, verdict.disordered, verdict.acted_late)
    text = f"{'; '.join(map(str, found))} of {verdict.owed}"
    return Row(what, text, "", wanted)


async def degraded_after(w: World, began_ns: int) -> float:
    """Wait until the daemon says that something is wrong; return how long it took (s)."""

    def bad() -> list[dict[str, Any]]:
        said = since(w.daemon, began_ns, "health")
        return [line for line in said if line["state"] == "degraded"]

    await until(lambda: bool(bad()), PATIENCE_S, w.daemon.words)
    return (moment_ns(bad()[0]) - began_ns) / 1e9


def assert_decided_as_a_batch(made: Stage, kept: list[Entry]) -> None:
    """Each played slot of each symbol was decided once, in order, and as `predict` says."""
    model = load_bundle(made.bundle).model
    for symbol, bars in made.markets.items():
        mine = [e.decision for e in kept if e.decision.stream.symbol == symbol]
        slots = [decision.bar_open for decision in mine]
        said = predict(bars, model)
        rows = np.searchsorted(said.open_time, slots)
        first = int(np.searchsorted(bars.open_time, slots[0]))
        assert slots == bars.open_time[first : first + len(slots)].tolist()
        assert [SIDES.index(decision.side) for decision in mine] == said.signal[rows].tolist()
