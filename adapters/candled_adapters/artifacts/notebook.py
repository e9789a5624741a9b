"""Reads the three files that the training notebook saves, as data, and holds them to each other.

`{SYMBOL}_{INTERVAL}_signal_model.joblib`, `.._scaler.joblib` and `.._metadata.json`, for example

    {"symbol": "BTCUSDT", "interval": "1h", "created_at": "2024-05-01T10:00:00",
     "feature_cols": ["ma5_sma", ..], "target_params": {"lookahead_bars": 24,
     "profit_target_pct": 1.5, "stop_loss_pct": 1.0}, "train_samples": 30306, "test_samples": 7577}

A joblib file is a pickle, and a pickle is a program: none of it is executed here (`inert_pickle`).
Knows nothing of bundles, features or decisions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import numpy as np

from candled.core.bar import Interval
from candled_adapters.artifacts.artifact import ArtifactError, Refused, read_file, show, unique
from candled_adapters.artifacts.inert_pickle import LIMITS, Inert, read_inert
from candled_adapters.artifacts.inert_values import BOOSTER, CLASSIFIER, ENCODER, SCALERS
from candled_adapters.artifacts.xgboost_bytes import BoosterFacts, split_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ArtifactError", "NotebookModel", "read_notebook"]

_MODEL: Final = "_signal_model.joblib"
_SCALER: Final = "_signal_scaler.joblib"
_METADATA: Final = "_signal_metadata.json"
_LARGEST_METADATA: Final = 16 * 2**20
_LARGEST_PERCENT: Final = 1_000
_CLASSES: Final = [0, 1, 2]
_OBJECTIVE: Final = "multi:softprob"
_RETRAIN: Final = "Run the notebook's training and saving cells again and import all three files."
_EDIT: Final = "Save it again from the notebook."

_T = TypeVar("_T")
_Row: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, slots=True, eq=False)
class NotebookModel:
    """What a notebook trained: a booster, its scaler, and what it was told about them."""

    symbol: str
    interval: str
    created_at: str
    """As the notebook wrote it, usually ISO-8601 in the local time of its machine."""
    feature_names: tuple[str, ...]
    """The k columns, in the order of the model's inputs."""
    lookahead_bars: int
    profit_target_pct: float
    stop_loss_pct: float
    train_samples: int
    test_samples: int
    booster: bytes
    """The model for XGBoosterLoadModelFromBuffer, classes (no trade, long, short): UBJSON, the
    same bytes as `Booster.save_raw`; JSON text if it was trained with XGBoost 1.3 to 1.5."""
    mean: NDArray[np.float64]
    """[k], read-only; zeros if the scaler does not centre."""
    scale: NDArray[np.float64]
    """[k], read-only, above zero; ones if it does not scale. scaled = (x - mean) / scale."""
    sources: dict[str, str]
    """File name -> SHA-256 of the file (hex)."""


def read_notebook(
    directory: Path, symbol: str | None = None, interval: str | None = None
) -> NotebookModel:
    """Read the one model in `directory` (of `symbol` and `interval`, if given) without running it.

    Raises `ArtifactError`, which names the file, what was found and the mend.
    """
    stem = _choose(directory, symbol, interval)
    paths = {end: directory / f"{stem}{end}" for end in (_METADATA, _SCALER, _MODEL)}
    raw = {end: _read(path) for end, path in paths.items()}
    metadata = _named(paths[_METADATA], lambda: _metadata(raw[_METADATA], stem))
    names = metadata["feature_names"]
    mean, scale = _pickled(paths[_SCALER], raw[_SCALER], lambda value: _scaler(value, names))
    booster = _pickled(paths[_MODEL], raw[_MODEL], lambda value: _booster(value, names))
    sources = {path.name: hashlib.sha256(raw[end]).hexdigest() for end, path in paths.items()}
    return NotebookModel(**metadata, booster=booster, mean=mean, scale=scale, sources=sources)


# ---- files


def _choose(directory: Path, symbol: str | None, interval: str | None) -> str:
    """Return the one `{SYMBOL}_{INTERVAL}` that is meant."""
    stems = sorted(stem for stem in _stems(directory) if _is_meant(stem, symbol, interval))
    wanted = f"{symbol or 'SYMBOL'}_{interval or 'INTERVAL'}"
    if not stems:
        what = f"has no {wanted}{_MODEL} nor its scaler or metadata"
        raise ArtifactError(str(directory), None, what, "Give the notebook's output directory.")
    if len(stems) > 1:
        what = f"has several models: {', '.join(stems)}"
        raise ArtifactError(str(directory), None, what, "Choose one by symbol and interval.")
    return stems[0]


def _stems(directory: Path) -> set[str]:
    try:
        files = [path.name for path in directory.iterdir()]
    except OSError as error:
        what = f"cannot be listed ({error.strerror})"
        raise ArtifactError(str(directory), None, what, "Give a directory.") from error
    ends = (_MODEL, _SCALER, _METADATA)
    found = {name.removesuffix(end) for name in files for end in ends if name.endswith(end)}
    return {stem for stem in found if "_" in stem}


def _is_meant(stem: str, symbol: str | None, interval: str | None) -> bool:
    its_symbol, _, its_interval = stem.rpartition("_")
    return symbol in (None, its_symbol) and interval in (None, its_interval)


def _read(path: Path) -> bytes:
    return read_file(path, _LARGEST_METADATA if path.name.endswith(_METADATA) else LIMITS.size)


def _named(path: Path, read: Callable[[], _T]) -> _T:
    """Give a refusal the name of its file."""
    try:
        return read()
    except Refused as no:
        raise ArtifactError(str(path), None, no.what, no.mend) from None


def _pickled(path: Path, raw: bytes, read: Callable[[object], _T]) -> _T:
    value = read_inert(raw, str(path))
    return _named(path, lambda: read(value))


# ---- metadata


def _metadata(raw: bytes, stem: str) -> dict[str, Any]:
    """Return the fields of `NotebookModel` that the metadata gives."""
    facts = _json_object(raw)
    target = _json_field(facts, "target_params", dict, "an object")
    symbol, interval = (_json_field(facts, key, str, "text") for key in ("symbol", "interval"))
    if f"{symbol}_{interval}" != stem:
        raise Refused(f"is of {symbol[:40]}_{interval[:40]}, but is named {stem}", _RETRAIN)
    try:
        Interval(interval)
    except ValueError as error:
        raise Refused(f"has an {error}", _EDIT) from None
    return {
        "symbol": symbol,
        "interval": interval,
        "created_at": _json_field(facts, "created_at", str, "text"),
        "feature_names": _feature_names(facts),
        "lookahead_bars": _count(target, "target_params.lookahead_bars", 1),
        "profit_target_pct": _percent(target, "target_params.profit_target_pct"),
        "stop_loss_pct": _percent(target, "target_params.stop_loss_pct"),
        "train_samples": _count(facts, "train_samples", 0),
        "test_samples": _count(facts, "test_samples", 0),
    }


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Refused(f"is not JSON ({error})", _EDIT) from None
    if not isinstance(facts, dict):
        raise Refused(f"holds {show(facts)}, not an object", _EDIT)
    return facts


def _json_field(facts: dict[str, Any], path: str, kind: type[_T], name: str) -> _T:
    key = path.rpartition(".")[2]
    if key not in facts:
        raise Refused(f"has no key {path}", _EDIT)
    value = facts[key]
    if not isinstance(value, kind) or (isinstance(value, str) and not value.isprintable()):
        raise Refused(f"has {show(value)} for {path}, which must be {name}", _EDIT)
    return value


def _count(facts: dict[str, Any], path: str, least: int) -> int:
    value = _json_field(facts, path, int, "a whole number")
    if isinstance(value, bool) or not least <= value < 2**31:
        raise Refused(f"has {show(value)} for {path}, which must be at least {least}", _EDIT)
    return value


def _percent(facts: dict[str, Any], path: str) -> float:
    value = _json_field(facts, path, (int | float), "a number")  # type: ignore[arg-type]
    if isinstance(value, bool) or not 0 < value <= _LARGEST_PERCENT:
        what = f"has {show(value)} for {path}, which must be above 0, at most {_LARGEST_PERCENT}"
        raise Refused(what, _EDIT)
    return float(value)


def _feature_names(facts: dict[str, Any]) -> tuple[str, ...]:
    names = _json_field(facts, "feature_cols", list, "a list of column names")
    if not names or not all(
        isinstance(name, str) and name.strip() and name.isprintable() for name in names
    ):
        raise Refused("has feature_cols that are not a list of column names", _EDIT)
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise Refused(f"names {name[:60]!r} {times} times in feature_cols", _EDIT)
    return tuple(names)


# ---- scaler


def _scaler(
    value: object, names: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and scale, checked against the columns' names."""
    state = _state(value, SCALERS, "a StandardScaler")
    if "feature_names_in_" in state:
        _same_names(state["feature_names_in_"], names, "the scaler was fitted on")
    count = state.get("n_features_in_", len(names))  # scikit-learn before 0.24 has no such field
    if not isinstance(count, int) or count != len(names):
        raise Refused(f"has {show(count)} features, the metadata {len(names)}", _RETRAIN)
    mean = _row(state, "mean_", "with_mean", np.zeros(len(names)))
    scale = _row(state, "scale_", "with_std", np.ones(len(names)))
    if not (scale > 0).all():
        worst = names[int(np.argmin(scale > 0))]
        raise Refused(f"has a scale_ that is not above 0, for {worst}", _RETRAIN)
    return mean, scale


def _row(state: dict[str, object], key: str, switch: str, absent: _Row) -> _Row:
    """Return a row of the scaler, or `absent` if its switch says that it is not applied."""
    wanted, row = state.get(switch), state.get(key)
    if not isinstance(wanted, bool):
        raise Refused(f"has {show(wanted)} for {switch}, not true or false", _RETRAIN)
    if not wanted:
        row = absent
    if not isinstance(row, np.ndarray) or row.dtype.kind != "f" or row.shape != absent.shape:
        raise Refused(f"has no {key} of {len(absent)} floats", _RETRAIN)
    if not np.isfinite(row).all():
        raise Refused(f"has a {key} that is not finite", _RETRAIN)
    result = row.astype(np.float64)
    result.flags.writeable = False
    return result


# ---- model


def _booster(value: object, names: tuple[str, ...]) -> bytes:
    """Return the model's bytes, checked for what changes its answers without a sound."""
    state = _state(value, {CLASSIFIER}, "an XGBClassifier")
    _three_classes(state)
    missing = state.get("missing")
    if not (isinstance(missing, float) and math.isnan(missing)):
        raise Refused(f"takes {show(missing)} for missing values, not NaN", _RETRAIN)
    inside = _state(state.get("_Booster"), {BOOSTER}, "a trained booster")
    handle = inside.get("handle")
    if not isinstance(handle, bytes):
        raise Refused("has a booster without its bytes", _RETRAIN)
    booster, facts = split_snapshot(handle)
    _check(facts, names)
    return booster


def _three_classes(state: dict[str, object]) -> None:
    encoder = state.get("_le")
    count = state.get("n_classes_")
    if not isinstance(count, int) or count != len(_CLASSES):
        raise Refused(f"has {show(count)} classes, not 3 (no trade, long, short)", _RETRAIN)
    said = {
        "classes_": state.get("classes_", np.array(_CLASSES)),
        "_le.classes_": _state(encoder, {ENCODER}, "a label encoder").get("classes_")
        if encoder is not None
        else np.array(_CLASSES),
    }
    for key, classes in said.items():
        if not isinstance(classes, np.ndarray) or classes.tolist() != _CLASSES:
            raise Refused(f"has {key} other than 0, 1, 2", _RETRAIN)


def _check(facts: BoosterFacts, names: tuple[str, ...]) -> None:
    if facts.objective != _OBJECTIVE:
        raise Refused(f"has the objective {facts.objective[:40]!r}, not {_OBJECTIVE!r}", _RETRAIN)
    if facts.classes != len(_CLASSES):
        raise Refused(f"has a booster of {facts.classes} classes, not 3", _RETRAIN)
    if facts.features != len(names):
        what = f"has a booster of {facts.features} features, the metadata {len(names)}"
        raise Refused(what, _RETRAIN)
    if facts.feature_names:
        _same_names(facts.feature_names, names, "the booster was trained on")
    if "c" in facts.feature_types:
        raise Refused("has categorical features, which a scaled row cannot hold", _RETRAIN)
    if facts.best_round is not None and facts.best_round + 1 != facts.rounds:
        what = f"stopped early: it uses {facts.best_round + 1} of its {facts.rounds} rounds"
        raise Refused(
            what, "Train with n_estimators set to the best round, without early stopping."
        )


# ---- both


def _state(value: object, kinds: frozenset[str] | set[str], name: str) -> dict[str, object]:
    if not isinstance(value, Inert) or value.name not in kinds or value.state is None:
        what = value.name if isinstance(value, Inert) else show(value)
        raise Refused(f"holds {what} where {name} belongs", _RETRAIN)
    return value.state


def _same_names(found: object, names: tuple[str, ...], whose: str) -> None:
    if not isinstance(found, tuple) or len(found) != len(names):
        raise Refused(
            f"does not have the metadata's {len(names)} columns: {whose} others", _RETRAIN
        )
    for place, (theirs, ours) in enumerate(zip(found, names, strict=True)):
        if not isinstance(theirs, str) or theirs != ours:
            what = f"differs from the metadata's feature_cols at number {place}: {whose}"
            raise Refused(f"{what} {show(theirs)}, the metadata says {show(ours)}", _RETRAIN)
