"""`features` and `predict`: a candle file in, a table out."""

from __future__ import annotations

from pathlib import Path

from candled.core.bar import Interval
from candled.core.decision import SIDES
from candled.offline.files import about, candles_of, check_out
from candled.offline.training import Label
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.feature_sets import find_feature_set


def write_features(
    candles: Path,
    out: Path,
    *,
    interval: Interval | None,
    features: str,
    regime: str,
    label: Label | None,
    raw: bool,
) -> str:
    """Write the table of a feature set for a candle file, block by block."""
    from candled.core.labels import LabelParams
    from candled.lab.tablefile import write_blocks
    from candled.lab.tables import table_blocks

    check_out(out, candles)
    found = find_feature_set(features)
    file = candles_of(candles, interval)
    blocks = table_blocks(
        file.bars,
        file.interval,
        features=found.features,
        regime=regime,
        labels=LabelParams(*label) if label else None,
        raw=raw,
    )
    rows, columns = write_blocks(blocks, out)
    return f"{about(file)}\n{out}: {rows} rows, {columns} columns"


def write_predictions_of(bundle: Path, candles: Path, out: Path, threshold: float | None) -> str:
    """Write what a bundle's model says of every complete row of a candle file."""
    from candled.lab.predict import predict, write_predictions

    check_out(out, candles)
    model = load_bundle(bundle).model
    file = candles_of(candles, Interval(model.interval))
    predictions = predict(file.bars, model, threshold)
    write_predictions(predictions, out)
    said = ", ".join(
        f"{int((predictions.signal == signal).sum())} {side.value}"
        for signal, side in enumerate(SIDES)
    )
    return f"{about(file)}\n{out}: {len(predictions.open_time)} rows ({said})"
