"""What a serialised XGBoost booster says of itself, read from its bytes without XGBoost.

A pickled booster is XGBoost's snapshot ``{"Config": {..}, "Model": {..}}``. XGBoost's model loader
does not take a snapshot, but the value of "Model" is, byte for byte, what ``save_raw`` gives and
every later XGBoost loads. XGBoost 1.6 and later write UBJSON, 1.3 to 1.5 JSON text:
https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html, https://ubjson.org. The start
of a real one (keys carry an 8 byte length, numbers are big-endian):

    7b 4c 0000000000000006 "Config" 7b 4c 0000000000000007 "learner" 7b ..

Trees are skipped: whether they hang together is for XGBoost's own loader to say.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Final

from candled_adapters.artifacts.artifact import Refused, show, unique

_RESAVE: Final = "Load it where it was trained and save it again with XGBoost 1.6 or later."
_DEEPEST: Final = 32
_MOST_VALUES: Final = 5_000_000  # a tree has about 25; its numbers are typed arrays
_LARGEST_JSON: Final = 64 * 2**20
_SIZES: Final = {b"i": 1, b"U": 1, b"I": 2, b"l": 4, b"L": 8, b"d": 4, b"D": 8}
_INTEGERS: Final = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_WORDS: Final = {b"T": True, b"F": False, b"Z": None}


@dataclass(frozen=True, slots=True)
class BoosterFacts:
    """What matters of a model before it is loaded."""

    objective: str
    classes: int
    features: int
    feature_names: tuple[str, ...]
    """Empty when it was trained on a bare array."""
    feature_types: tuple[str, ...]
    """``c`` marks a categorical feature; empty when it was trained on a bare array."""
    rounds: int
    """Boosting rounds that are stored."""
    best_round: int | None
    """Last round that the trained estimator itself would use, from 0; None means all."""


def split_snapshot(snapshot: bytes) -> tuple[bytes, BoosterFacts]:
    """Return a snapshot's model, loadable by XGBoosterLoadModelFromBuffer, and its facts."""
    if snapshot[:1] == b"{" and snapshot[1:2] in (b"L", b"}"):
        parts, spans = _UbjReader(snapshot).document()
    elif snapshot[:1] == b"{":
        parts, spans = _json_document(snapshot)
    else:
        raise Refused("has a booster in XGBoost's old binary form", _RESAVE)
    if "Model" not in parts:
        raise Refused("has a booster without a model in it", _RESAVE)
    start, end = spans["Model"]
    return snapshot[start:end], _facts(parts["Model"])


def _facts(model: object) -> BoosterFacts:
    best = _find(model, "learner", "attributes", "best_iteration", missing=None)
    return BoosterFacts(
        objective=_text(model, "learner", "objective", "name"),
        classes=_number(model, "learner", "learner_model_param", "num_class"),
        features=_number(model, "learner", "learner_model_param", "num_feature"),
        feature_names=_texts(model, "learner", "feature_names"),
        feature_types=_texts(model, "learner", "feature_types"),
        rounds=_rounds(model),
        best_round=None if best is None else _integer(best, "best_iteration"),
    )


def _rounds(model: object) -> int:
    kind = _text(model, "learner", "gradient_booster", "name")
    if kind != "gbtree":
        raise Refused(f"has a booster of kind {kind[:40]!r}; only gbtree is known to work")
    sizes = ("learner", "gradient_booster", "model", "gbtree_model_param")
    trees = _number(model, *sizes, "num_trees")
    # XGBoost 1.5 does not say; taking 1 can only make too many rounds, never hide one.
    forest = _integer(_find(model, *sizes, "num_parallel_tree", missing="1"), "num_parallel_tree")
    classes = _number(model, "learner", "learner_model_param", "num_class")
    return trees // max(1, forest * classes)


def _find(model: object, *path: str, missing: object = Ellipsis) -> object:
    for key in path:
        if not isinstance(model, dict) or key not in model:
            if missing is not Ellipsis:
                return missing
            raise Refused(f"has a booster without {'.'.join(path)}", _RESAVE)
        model = model[key]
    return model


def _text(model: object, *path: str) -> str:
    value = _find(model, *path)
    if not isinstance(value, str):
        raise Refused(f"has a booster with {show(value)} for {'.'.join(path)}", _RESAVE)
    return value


def _texts(model: object, *path: str) -> tuple[str, ...]:
    value = _find(model, *path, missing=[])
    texts = [item for item in value if isinstance(item, str)] if isinstance(value, list) else None
    if texts is None or texts != value:
        raise Refused(f"has a booster with something but texts in {'.'.join(path)}", _RESAVE)
    return tuple(texts)


def _number(model: object, *path: str) -> int:
    return _integer(_find(model, *path), ".".join(path))


def _integer(value: object, name: str) -> int:
    """XGBoost writes its parameters as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:  # noqa: PLR2004 - fits 32 bits
        return int(value)
    raise Refused(f"has a booster with {show(value)} for {name}", _RESAVE)


_Document = tuple[dict[str, object], dict[str, tuple[int, int]]]


class _UbjReader:
    """Reads the part of UBJSON that XGBoost writes; typed arrays are skipped."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.values = 0

    def document(self) -> _Document:
        """Return the outermost object and where each of its values lies."""
        spans: dict[str, tuple[int, int]] = {}
        self.take(1)
        found = self.members(1, spans)
        if self.position != len(self.data):
            raise Refused("has a booster that goes on after its end", _RESAVE)
        return found, spans

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise Refused("has a booster that ends too early", _RESAVE)
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def integer(self, marker: bytes) -> int:
        if marker not in _INTEGERS:
            raise Refused(f"has a booster with the marker {marker!r} for a length", _RESAVE)
        (value,) = struct.unpack(_INTEGERS[marker], self.take(_SIZES[marker]))
        return int(value)

    def text(self, marker: bytes) -> str:
        try:
            return self.take(self.integer(marker)).decode()
        except UnicodeDecodeError:
            raise Refused("has a booster with text that is not UTF-8", _RESAVE) from None

    def members(
        self, depth: int, spans: dict[str, tuple[int, int]] | None = None
    ) -> dict[str, object]:
        found: dict[str, object] = {}
        while (marker := self.take(1)) != b"}":
            key = self.text(marker)
            if key in found:
                raise Refused(f"has a booster with {key[:40]!r} twice", _RESAVE)
            start = self.position
            found[key] = self.value(self.take(1), depth)
            if spans is not None:
                spans[key] = (start, self.position)
        return found

    def value(self, marker: bytes, depth: int) -> object:
        self.values += 1
        if depth > _DEEPEST or self.values > _MOST_VALUES:
            raise Refused("has a booster that is nested too deep or has too many parts", _RESAVE)
        if marker == b"{":
            return self.members(depth + 1)
        if marker == b"[":
            return self.array(depth + 1)
        if marker == b"S":
            return self.text(self.take(1))
        if marker in _INTEGERS:
            return self.integer(marker)
        if marker in _WORDS:
            return _WORDS[marker]
        if marker in _SIZES:
            return struct.unpack(">f" if marker == b"d" else ">d", self.take(_SIZES[marker]))[0]
        raise Refused(f"has a booster with the unknown marker {marker!r}", _RESAVE)

    def array(self, depth: int) -> object:
        marker = self.take(1)
        if marker == b"$":
            self.skip_typed()
            return None
        if marker == b"#":
            count = self.integer(self.take(1))
            return [self.value(self.take(1), depth) for _ in range(count)]
        items = []
        while marker != b"]":
            items.append(self.value(marker, depth))
            marker = self.take(1)
        return items

    def skip_typed(self) -> None:
        kind = self.take(1)
        if kind not in _SIZES or self.take(1) != b"#":
            raise Refused(f"has a booster with an array of the unknown type {kind!r}", _RESAVE)
        self.take(self.integer(self.take(1)) * _SIZES[kind])


def _json_document(snapshot: bytes) -> _Document:
    """Return the outermost object of a JSON text and where each of its values lies."""
    found: dict[str, object] = {}
    spans: dict[str, tuple[int, int]] = {}
    if len(snapshot) > _LARGEST_JSON:
        raise Refused(f"has a booster of more than {_LARGEST_JSON} bytes of JSON", _RESAVE)
    try:
        text = snapshot.decode("ascii")
        decoder = json.JSONDecoder(object_pairs_hook=unique)
        position = 0
        while text[position] in "{,":
            key, position = decoder.raw_decode(text, position + 1)
            found[key], end = decoder.raw_decode(text, position + 1)
            spans[key] = (position + 1, end)
            position = end
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise Refused(f"has a booster that is broken JSON ({error})", _RESAVE) from None
    if text[position:] != "}":
        raise Refused("has a booster that goes on after its end", _RESAVE)
    return found, spans
