"""The offline commands, composed: candle files and bundles in and out of the lab.

Reads files through the adapters, asks the lab, writes files, and returns the lines that a command
prints. The live process never comes here.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from candled.core.bar import Bars, Interval, iso
from candled.core.decision import SIDES, Target
from candled.core.model import ModelSpec, as_ubjson
from candled_adapters.artifacts.bundle import Bundle, load_bundle, write_bundle
from candled_adapters.artifacts.notebook import read_notebook
from candled_adapters.candles.candlefile import CandleFile, CandleFileError, read_candles

Label = tuple[int, float, float]
"""Lookahead in bars, profit in percent, stop in percent."""


def write_features(
    candles: Path, out: Path, *, interval: Interval | None, regime: str, label: Label | None
) -> str:
    """Write the feature table of a candle file."""
    from candled.lab.labels import LabelParams
    from candled.lab.tables import feature_table, write_table

    _check_out(out, candles)
    file = _candles(candles, interval)
    wanted = LabelParams(*label) if label else None
    frame = feature_table(file.bars, file.interval, regime=regime, labels=wanted)
    write_table(frame, out)
    return f"{_about(file)}\n{out}: {len(frame)} rows, {len(frame.columns)} columns"


def train_bundle(
    candles: Path,
    out: Path,
    *,
    symbol: str,
    interval: Interval,
    threshold: float,
    regime: str,
    label: Label,
) -> str:
    """Train as the notebook does and write a bundle together with the notebook's three files."""
    quiet_threads()
    from candled.lab.labels import LabelParams
    from candled.lab.train import train_notebook, write_notebook_files

    file = _candles(candles, interval)
    trained = train_notebook(
        file.bars,
        symbol,
        interval.name,
        params=LabelParams(*label),
        threshold=threshold,
        regime=regime,
        created_at=_now(),
    )

    def add_notebook_files(folder: Path) -> None:
        write_notebook_files(trained, folder)

    bundle = write_bundle(trained.spec, out, add_notebook_files)
    evaluation: Any = trained.spec.provenance["evaluation"]
    return "\n".join([_about(file), _summary(bundle), *_verdict(evaluation["labelled_only"])])


def write_predictions_of(bundle: Path, candles: Path, out: Path, threshold: float | None) -> str:
    """Write what a bundle's model says of every complete row of a candle file."""
    from candled.lab.predict import predict, write_predictions

    _check_out(out, candles)
    model = load_bundle(bundle).model
    file = _candles(candles, Interval(model.interval))
    predictions = predict(file.bars, model, threshold)
    write_predictions(predictions, out)
    said = ", ".join(
        f"{int((predictions.signal == signal).sum())} {side.value}"
        for signal, side in enumerate(SIDES)
    )
    return f"{_about(file)}\n{out}: {len(predictions.open_time)} rows ({said})"


def import_model(
    directory: Path, out: Path, symbol: str | None, interval: str | None, threshold: float
) -> str:
    """Turn the notebook's three files into a bundle."""
    found = read_notebook(directory, symbol, interval)
    spec = ModelSpec(
        symbol=found.symbol,
        interval=found.interval,
        feature_set="mar",
        feature_names=found.feature_names,
        mean=found.mean,
        scale=found.scale,
        booster=as_ubjson(found.booster),
        threshold=threshold,
        target=Target(found.lookahead_bars, found.profit_target_pct, found.stop_loss_pct),
        regime="notebook",
        provenance={
            "imported_from": found.sources,
            "created_at": found.created_at,
            "train_samples": found.train_samples,
            "test_samples": found.test_samples,
            "candled": _version(),
        },
    )
    return _summary(write_bundle(spec, out))


def check_model(path: Path) -> str:
    """Check a bundle; raises BundleError when it must not be used."""
    bundle = load_bundle(path)
    return f"{_summary(bundle)}\nok: digests, names, order and golden vectors agree"


def show_model(path: Path, *, as_json: bool) -> str:
    """Describe a bundle, for people or as JSON without the long tables."""
    bundle = load_bundle(path)
    card = model_card(bundle)
    if as_json:
        return json.dumps(card, indent=2)
    return "\n".join(f"{key:14} {_plain(value)}" for key, value in card.items())


def model_card(bundle: Bundle) -> dict[str, Any]:
    """Return what a bundle says of itself, as plain JSON values."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "digest": manifest.digest,
        "symbol": manifest.symbol,
        "interval": manifest.interval,
        "feature_set": manifest.feature_set,
        "features": len(manifest.features),
        "classes": manifest.classes,
        "threshold": manifest.threshold,
        "target": msgspec.to_builtins(manifest.target),
        "regime": manifest.regime,
        "parts": manifest.parts,
        "provenance": manifest.provenance,
    }


def quiet_threads() -> None:
    """Let OpenMP's idle threads sleep; spinning makes a fit several times slower on busy cores.

    Must run before XGBoost's library is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _candles(path: Path, interval: Interval | None) -> CandleFile:
    """Read a candle file; a last bar that has not closed yet is dropped."""
    file = read_candles(path, interval, now_ms=int(time.time() * 1000))
    if not len(file.bars):
        mend = "give a file with closed candles"
        raise CandleFileError(path, None, None, "its only bar has not closed yet", mend)
    return file


def _check_out(out: Path, candles: Path) -> None:
    """Refuse a place that could not be written to, before the work and not after it."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a directory; name a file to write")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent}: no such directory; make it first")
    if out.exists() and candles.exists() and out.samefile(candles):
        raise FileExistsError(f"{out} is the candle file itself; name another file to write")


def _about(file: CandleFile) -> str:
    gaps = sum(count for _, count in file.gaps)
    text = f"{file.path}: {len(file.bars)} bars {_span(file.bars)}"
    if gaps:
        first = iso(file.gaps[0][0])
        text += f", {gaps} absent in {len(file.gaps)} gap(s), the first at {first} (taken by row)"
    return text + (", open last bar dropped" if file.dropped_open_bar else "")


def _span(bars: Bars) -> str:
    return f"from {iso(int(bars.open_time[0]))} to {iso(int(bars.open_time[-1]))}"


def _verdict(test: dict[str, Any]) -> list[str]:
    """Say how the model did on the test rows, beside what needs no model."""
    head = (
        f"test rows {test['rows']}: accuracy {test['accuracy']:.3f}, always the commonest class "
        f"{test['majority_class_accuracy']:.3f}; log-loss {test['log_loss']:.3f}, constant class "
        f"shares {test['class_share_log_loss']:.3f}"
    )
    lines = [head]
    for side, found in test["above_threshold"].items():
        precision = "-" if found["precision"] is None else f"{found['precision']:.3f}"
        lines.append(
            f"{side}: {found['signals']} signals on {100 * found['coverage']:.1f} % of the rows, "
            f"precision {precision}, base rate {found['base_rate']:.3f}"
        )
    if test["log_loss"] >= test["class_share_log_loss"]:
        lines.append("this model knows less than the constant class shares do: no skill")
    return lines


def _summary(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return (
        f"{bundle.path}: bundle {manifest.name}, {len(manifest.features)} features, "
        f"threshold {manifest.threshold}, digest {manifest.digest[:16]}"
    )


def _plain(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _version() -> str:
    try:
        return version("candled")
    except PackageNotFoundError:
        return "unknown"
