"""`verify`: features, regimes and a model on candles; and the decisions that a daemon has made.

Looks into a daemon's journal without its lock, and without writing to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from candled.core.bar import Bars, Interval, Stream, iso
from candled.core.decision import Decision
from candled.core.features import feature_set
from candled.offline.files import about, candles_of
from candled.offline.threads import quiet_threads
from candled_adapters.artifacts.bundle import load_bundle

if TYPE_CHECKING:
    from candled.config import Config
    from candled.core.engine import Lane
    from candled.journal import JournalReader
    from candled.lab.verify import Verification
    from candled.lab.verify.redecide import Difference, Redecided, Revised

_SHOWN: Final = 20  # findings
_FIRST: Final = 5  # differences of a stream
_PARTS: Final = 3  # of a stream's path


def verify_candles(
    candles: Path,
    *,
    features: str,
    bundle: Path | None,
    interval: Interval | None,
    rows: int | None,
    seed: int,
    as_json: bool,
) -> tuple[str, bool]:
    """Verify a feature set, or a bundle's set and model, on a candle file.

    Returns what to print, and whether no bit differs.
    """
    quiet_threads()
    from candled.lab.verify import verify

    model = load_bundle(bundle).model if bundle else None
    subject = model.features if model else feature_set(features)
    file = candles_of(candles, Interval(model.interval) if model else interval)
    bars = file.bars[-rows:] if rows else file.bars
    began = time.perf_counter()
    done = verify(subject, bars, file.interval, model=model, seed=seed)
    seconds = time.perf_counter() - began
    if as_json:
        plain = {**asdict(done), "ok": done.ok, "cells": done.cells, "seconds": round(seconds, 2)}
        return json.dumps(plain, indent=2), done.ok
    return f"{about(file)}\n{described(done, seconds)}", done.ok


def described(done: Verification, seconds: float) -> str:
    """Say what was compared, a line for each check, the findings, and the verdict."""
    head = f"feature set {done.subject}, {done.bars} bars"
    return "\n".join([head, *_table(done), *_findings(done), _verdict(done, seconds)])


def _table(done: Verification) -> list[str]:
    lines = [f"{'check':18}{'rows':>8}{'cells':>13}{'differ':>10}  compared"]
    for check in done.checks:
        differing = sum(finding.cells for finding in check.findings)
        lines.append(
            f"{check.name:18}{check.rows:>8}{check.cells:>13}{differing:>10}"
            f"  {check.note or check.about}"
        )
    return lines


def _findings(done: Verification) -> list[str]:
    shown = [f"{finding.check}: {finding.text}" for finding in done.findings[:_SHOWN]]
    more = len(done.findings) - len(shown)
    return shown + ([f"and {more} findings more"] if more else [])


def _verdict(done: Verification, seconds: float) -> str:
    told = f"{done.cells} cells compared in {seconds:.1f} s"
    if done.ok:
        return f"ok: {told}, 0 differing bits"
    names = ", ".join(sorted(done.columns)[:_SHOWN])
    return f"not ok: {told}; differing: {names}"


def verify_live(
    state: Path,
    config: Path,
    *,
    bundles: Sequence[Path],
    candles: Sequence[str],
    as_json: bool,
) -> tuple[str, bool]:
    """Decide again what a daemon has decided, from the bars in its journal.

    `bundles` are further models at hand, for decisions of earlier ones; `candles` are final
    histories as EXCHANGE/SYMBOL/INTERVAL=FILE. Returns what to print, and whether all that could be
    compared is equal.

    Raises:
        ConfigError, BundleError, JournalError, CandleFileError: what cannot be read.
        VerificationError: candles of no stream.
    """
    from candled.config import load_config
    from candled.journal import open_reader
    from candled.lab.verify import VerificationError

    loaded = load_config(config)
    final = _final(candles, config)
    lanes = _lanes(loaded, config, bundles)
    with open_reader(state) as journal:
        told = [_stream(journal, one, lanes, final.pop(one, None)) for one in journal.streams()]
    if final:
        names = ", ".join(stream.path for stream in final)
        raise VerificationError(f"{state}: has no stream {names}; see the names in {config}")
    ok = all(report["ok"] for report in told)
    if as_json:
        return json.dumps({"ok": ok, "streams": told}, indent=2), ok
    return "\n".join([*(line for report in told for line in _lines(report)), _sum(told, ok=ok)]), ok


def _final(candles: Sequence[str], config: Path) -> dict[Stream, Bars]:
    """Read the final histories; each is given as EXCHANGE/SYMBOL/INTERVAL=FILE."""
    from candled.lab.verify import VerificationError

    found = {}
    for text in candles:
        path, _, file = text.partition("=")
        names = path.split("/")
        if len(names) != _PARTS or not all(names) or not file:
            raise VerificationError(
                f"--candles {text}: with --live give EXCHANGE/SYMBOL/INTERVAL=FILE, named as in "
                f"{config}"
            )
        stream = Stream(*names)
        found[stream] = candles_of(Path(file), Interval(stream.interval)).bars
    return found


def _lanes(config: Config, source: Path, bundles: Sequence[Path]) -> list[Lane]:
    """Return the configured lanes, and what they would be with each of the further bundles."""
    from candled.lineup import load_lanes

    lanes = load_lanes(config, source)
    for path in bundles:
        interval = load_bundle(path).manifest.interval
        alone = {"challenger": None, "challenger_policy": None}
        streams = [
            part.model_copy(update={"bundle": path, "any_symbol": True, **alone})
            for part in config.streams
            if part.interval == interval
        ]
        lanes += load_lanes(config.model_copy(update={"streams": streams}), source)
    return lanes


def _stream(
    journal: JournalReader, stream: Stream, lanes: Sequence[Lane], final: Bars | None
) -> dict[str, Any]:
    """Decide one stream again; return what became of it as plain values."""
    from candled.lab.verify.redecide import redecide, revise

    mine = [lane for lane in lanes if lane.stream == stream]
    stored = journal.decisions(stream)
    bars, from_listing = journal.bars(stream), journal.from_listing(stream)
    done = redecide(mine, bars, stored, from_listing=from_listing)
    report = {"stream": stream.path, **_plain(done)}
    report["ok"] = not (done.differences or done.undecided) and (done.compared > 0 or not stored)
    if final is not None and stored:
        revised = revise(bars, final, stored[-1].bar_open)
        would = redecide(mine, revised.bars, stored, from_listing=from_listing)
        report["final"] = {**_plain_revision(revised), "decisions": _plain(would)}
        bars_differ = revised.changed or revised.only_stored or revised.only_final
        report["ok"] = report["ok"] and not (bars_differ or would.differences)
    return report


def _plain(done: Redecided) -> dict[str, Any]:
    other_side = [one for one in done.differences if one.stored.side is not one.again.side]
    return {
        "stored": done.stored,
        "compared": done.compared,
        "differing": len(done.differences),
        "other_side": len(other_side),
        "not_compared": dict(done.not_compared),
        "undecided": [iso(at) for at in done.undecided],
        "first": [_plain_difference(one) for one in done.differences[:_FIRST]],
    }


def _plain_difference(one: Difference) -> dict[str, Any]:
    return {
        "bar_open": iso(one.stored.bar_open),
        "fields": {
            name: [_value(one.stored, name), _value(one.again, name)] for name in one.fields
        },
    }


def _value(decision: Decision, name: str) -> Any:  # noqa: ANN401 - of any field
    import msgspec

    return msgspec.to_builtins(getattr(decision, name))


def _plain_revision(revised: Revised) -> dict[str, Any]:
    return {
        "bars": revised.compared,
        "changed": [
            {"bar_open": iso(at), "columns": list(columns)} for at, columns in revised.changed
        ],
        "only_stored": [iso(at) for at in revised.only_stored],
        "only_final": [iso(at) for at in revised.only_final],
    }


def _lines(report: dict[str, Any]) -> list[str]:
    """Say what became of a stream, a few lines at most."""
    lines = [f"{report['stream']}: {_counts(report)}", *_details(report)]
    if final := report.get("final"):
        lines.append(
            f"  final history: {final['bars']} bars in both, {len(final['changed'])} differ, "
            f"{len(final['only_stored'])} only here, {len(final['only_final'])} only there"
        )
        lines += [
            f"    {bar['bar_open']} differs in {', '.join(bar['columns'])}"
            for bar in final["changed"][:_FIRST]
        ]
        lines.append(f"  decided on it: {_counts(final['decisions'])}")
        lines += _details(final["decisions"])
    return lines


def _counts(report: dict[str, Any]) -> str:
    return (
        f"{report['stored']} decisions, {report['compared']} compared, {report['differing']} "
        f"differ, {report['other_side']} of them in their side"
    )


def _details(report: dict[str, Any]) -> list[str]:
    lines = [f"  {count} not compared: {why}" for why, count in report["not_compared"].items()]
    if missing := report["undecided"]:
        lines.append(f"  {len(missing)} bars without a decision, the first at {missing[0]}")
    for one in report["first"]:
        for name, (was, now) in one["fields"].items():
            lines.append(f"  {one['bar_open']} {name}: stored {was}, again {now}")
    return lines


def _sum(told: Sequence[dict[str, Any]], *, ok: bool) -> str:
    stored, compared = (sum(report[key] for report in told) for key in ("stored", "compared"))
    differing = sum(report["differing"] for report in told)
    return (
        f"{'ok' if ok else 'not ok'}: {len(told)} streams, {stored} decisions, {compared} made "
        f"again, {differing} differ, {stored - compared} could not be made again"
    )
