"""`backtest`: a bundle and candle files in, what its signals would have brought out.

Replays the daemon's engine over the files, so that a trade's decision has the id that the daemon
would have published, and trades the decisions. What the model was trained on and what it was not
are two reports, never one: the first says how well the model remembers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from candled.core.bar import Interval, Stream, iso
from candled.core.decision import Policy
from candled.core.model import Model
from candled.offline.backtest_report import SEEN, UNKNOWN, UNSEEN, Report, as_json, as_text
from candled.offline.files import about, candles_of, check_out
from candled.offline.known import known_until
from candled.offline.models import summary
from candled.offline.replay import asked_part, replayed_tape
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.candles.candlefile import CandleFile

if TYPE_CHECKING:
    from candled.lab.backtest import Costs, Exits, Sizing, Sweep, Tape

_SWEPT_THRESHOLDS: Final = tuple(at / 200 for at in range(70, 190))
_SWEPT_SIDES_PCT: Final = (0.0, 0.025, 0.05, 0.1, 0.15)


class BacktestError(Exception):
    """Options or files that no backtest can be made of, and what to change."""


@dataclass(frozen=True, slots=True)
class BacktestOptions:
    """What is traded, and how."""

    bundle: Path
    candles: tuple[Path, ...]
    exchange: str
    """Of the streams, as the daemon's configuration names it; part of the ids."""
    threshold: float | None
    """None is the bundle's own."""
    regime: str
    regime_gate: bool
    fee_pct: float
    slippage_pct: float
    funding_pct: float
    exits: tuple[str, ...]
    """Of `target`, `stop`, `time`, `opposite`."""
    sides: str
    limit_pct: float | None
    fraction: float
    max_positions: int | None
    first: int | None
    """Only bars that open from here on (UTC ms)."""
    last: int | None
    """Only bars that open until here (UTC ms), included."""
    trained_until: int | None
    """Open of the last bar trained on (UTC ms), for a bundle that does not say."""
    out_of_sample: bool
    """Leave out what the model was trained on."""
    sweep: bool
    trades: Path | None
    as_json: bool


def run_backtest(options: BacktestOptions) -> str:
    """Replay, trade, and describe; write the trades if asked."""
    for path in options.candles:
        if options.trades is not None:
            check_out(options.trades, path)
    bundle = load_bundle(options.bundle)
    files = [candles_of(path, Interval(bundle.model.interval)) for path in options.candles]
    rules = _rules(options, bundle.model)
    policy = _policy(options, bundle.model)
    tapes = [_tape(options, bundle.model, policy, file) for file in files]
    _refuse_doubles(tapes)
    known = known_until(bundle, files[0].bars, options.trained_until)
    parts = _parts(tapes, known, options)
    reports = {name: _report(name, some, options, rules) for name, some in parts.items()}
    if options.trades is not None:
        _write_trades(reports, options.trades, regime_gate=options.regime_gate)
    if options.as_json:
        return as_json(bundle.manifest.name, policy, rules, reports)
    head = [
        *map(about, files),
        f"{summary(bundle)}, traded at {policy.threshold}",
    ]
    return as_text(head, reports)


def _rules(options: BacktestOptions, model: Model) -> tuple[Exits, Costs, Sizing]:
    from candled.lab.backtest import Costs, Exits, Sizing

    target, wanted = model.target, options.exits
    if target is None and {"target", "stop", "time"} & set(wanted):
        raise BacktestError(
            f"{model.name} does not say what target, stop and time limit it was trained for; "
            "give --exits opposite"
        )
    if {"target", "stop"} & set(wanted) and "time" not in wanted:
        raise BacktestError("a target or a stop needs a time limit: add time to --exits")
    try:
        exits = Exits(
            max_bars=target.lookahead_bars if target and "time" in wanted else None,
            target_pct=target.profit_pct if target and "target" in wanted else None,
            stop_pct=target.stop_pct if target and "stop" in wanted else None,
            leave="opposite" if "opposite" in wanted else "never",
            sides=options.sides,  # type: ignore[arg-type]  # one of three, as the command checks
            limit_pct=options.limit_pct,
        )
        costs = Costs(options.fee_pct, options.slippage_pct, options.funding_pct)
        return exits, costs, Sizing(options.fraction, options.max_positions)
    except ValueError as error:
        raise BacktestError(str(error)) from error


def _policy(options: BacktestOptions, model: Model) -> Policy:
    threshold = model.threshold if options.threshold is None else options.threshold
    return Policy(threshold, options.regime, regime_gate=options.regime_gate)


def _tape(options: BacktestOptions, model: Model, policy: Policy, file: CandleFile) -> Tape:
    stream = Stream(options.exchange, _symbol(file.path), model.interval)
    return replayed_tape(stream, file.bars, model, policy)


def _symbol(path: Path) -> str:
    """Return the symbol that a candle file is named after: ``BTCUSDT_1h.csv.gz``."""
    return path.name.split(".")[0].split("_")[0]


def _refuse_doubles(tapes: Sequence[Tape]) -> None:
    symbols = [tape.stream.symbol for tape in tapes]
    double = next((name for name in symbols if symbols.count(name) > 1), None)
    if double is not None:
        raise BacktestError(
            f"two candle files are named after {double}; give one file for each symbol, named "
            "SYMBOL_INTERVAL.csv"
        )


def _parts(
    tapes: Sequence[Tape], trained_until: int | None, options: BacktestOptions
) -> dict[str, list[Tape]]:
    """Split the tapes at what the training knew; each part begins where the model was first asked.

    Every bar is in one part only. Raises BacktestError where nothing is left.
    """
    within = [tape.between(options.first, options.last) for tape in tapes]
    if trained_until is None:
        parts = {UNKNOWN: within}
    else:
        parts = {
            UNSEEN: [tape.between(trained_until + 1, None) for tape in within],
            SEEN: [tape.between(None, trained_until) for tape in within],
        }
    if options.out_of_sample:
        parts = {UNSEEN: parts.get(UNSEEN, [])}
    asked = {
        name: [part for tape in some if len(part := asked_part(tape))]
        for name, some in parts.items()
    }
    left = {name: some for name, some in asked.items() if some}
    if not left:
        raise BacktestError(_nothing_left(trained_until, options))
    return left


def _nothing_left(trained_until: int | None, options: BacktestOptions) -> str:
    if options.out_of_sample and trained_until is None:
        return (
            f"{options.bundle} does not say what it was trained on, so nothing is known to be out "
            "of sample; give --trained-until"
        )
    if options.out_of_sample and trained_until is not None:
        return (
            f"the files have no decided bar after {iso(trained_until)}, up to which the training "
            "knew; give newer candles"
        )
    return "no bar was decided: give more candles (the model needs a history) or other dates"


def _report(
    name: str,
    tapes: Sequence[Tape],
    options: BacktestOptions,
    rules: tuple[Exits, Costs, Sizing],
) -> Report:
    from candled.lab.backtest import comparison, statistics

    tests = comparison(tapes, *rules)
    return Report(
        name=name,
        first=min(int(tape.bars.open_time[0]) for tape in tapes),
        last=max(int(tape.bars.open_time[-1]) for tape in tapes),
        tests=tests,
        figures={way: statistics(test) for way, test in tests.items()},
        sweep=_sweep(tapes, options, rules) if options.sweep else None,
    )


def _sweep(
    tapes: Sequence[Tape], options: BacktestOptions, rules: tuple[Exits, Costs, Sizing]
) -> Sweep:
    from candled.lab.backtest import Costs, sweep

    if len(tapes) > 1:
        raise BacktestError("--sweep is for one candle file; give one")
    exits, costs, sizing = rules
    sides = [Costs(side_pct, 0.0, costs.funding_pct) for side_pct in _SWEPT_SIDES_PCT]
    gate = options.regime_gate
    return sweep(tapes[0], exits, _SWEPT_THRESHOLDS, sides, sizing, regime_gate=gate)


def _write_trades(reports: Mapping[str, Report], path: Path, *, regime_gate: bool) -> None:
    """Write the trades of the policy asked for, all parts, as CSV; whole or not at all."""
    import pandas as pd

    from candled.lab.backtest import trades_frame
    from candled.lab.backtest.strategies import MODEL, MODEL_GATED
    from candled.lab.textfile import write_chunks

    frames = []
    for report in reports.values():
        frame = trades_frame(report.tests[MODEL_GATED if regime_gate else MODEL])
        frame.insert(0, "part", report.name)
        frames.append(frame)
    text = pd.concat(frames).to_csv(
        index=False, lineterminator="\n", date_format="%Y-%m-%dT%H:%M:%SZ"
    )
    write_chunks(path, [text.encode()])
