"""`features` and `predict`: a candle file in, a table out."""

from __future__ import annotations

from pathlib import Path

from candled.core.bar import Interval
from candled.core.decision import SIDES
from candled.offline.files import about, candles_of, check_out
from candled.offline.training import Label
from candled_adapters.artifacts.bundle import load_bundle


def write_features(
    candles: Path, out: Path, *, interval: Interval | None, regime: str, label: Label | None
) -> str:
    """Write the feature table of a candle file."""
    from candled.lab.labels import LabelParams
    from candled.lab.tables import feature_table, write_table

    check_out(out, candles)
    file = candles_of(candles, interval)
    wanted = LabelParams(*label) if label else None
    frame = feature_table(file.bars, file.interval, regime=regime, labels=wanted)
    write_table(frame, out)
    return f"{about(file)}\n{out}: {len(frame)} rows, {len(frame.columns)} columns"


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
