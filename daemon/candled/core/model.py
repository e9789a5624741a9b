"""A trained model, ready to be asked: scaler, XGBoost's own C library, and what must be known.

The booster is evaluated by libxgboost through its public C API and nothing else of the package: the
Python package would bring scipy, pandas and scikit-learn (0.9 s, 120 MB) and answers to the same
bits. https://xgboost.readthedocs.io/en/stable/c.html
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import Evidence, Side, Target
from candled.core.drift import Reference
from candled.core.features import FeatureSet

CLASSES: Final = ("no_trade", "long", "short")

_ASK: Final = json.dumps(
    {
        "type": 0,  # the transformed prediction: probabilities
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,  # all trees
        "strict_shape": True,
        "missing": float("nan"),
    }
).encode()


class ModelError(Exception):
    """A model that cannot be loaded or does not fit its own description."""


class Booster:
    """One XGBoost model held by the C library, on one thread.

    A single row gains nothing from more threads: the fan-out costs ten times the work.
    """

    def __init__(self, serialized: bytes) -> None:
        """Load a model from XGBoost's UBJSON or JSON form; raises ModelError."""
        if not serialized:  # the library would end the process
            raise ModelError("XGBoost: the model is empty; restore the file or train again")
        library = _library()
        self._library = library
        self._handle = ctypes.c_void_p()
        _check(library, library.XGBoosterCreate(None, 0, ctypes.byref(self._handle)))
        buffer = (ctypes.c_char * len(serialized)).from_buffer_copy(serialized)
        status = library.XGBoosterLoadModelFromBuffer(
            self._handle, buffer, ctypes.c_uint64(len(serialized))
        )
        _check(library, status)
        _check(library, library.XGBoosterSetParam(self._handle, b"nthread", b"1"))

    @property
    def feature_count(self) -> int:
        """How many columns the model was trained on."""
        count = ctypes.c_uint64()
        status = self._library.XGBoosterGetNumFeature(self._handle, ctypes.byref(count))
        _check(self._library, status)
        return count.value

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [n, classes] of rows [n, k], in one call; raises ModelError."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)  # the library reads bare memory
        interface = {
            "data": (rows.ctypes.data, True),
            "shape": rows.shape,
            "typestr": "<f4",
            "version": 3,
        }
        shape = ctypes.POINTER(ctypes.c_uint64)()
        dimensions = ctypes.c_uint64()
        result = ctypes.POINTER(ctypes.c_float)()
        status = self._library.XGBoosterPredictFromDense(
            self._handle,
            json.dumps(interface).encode(),
            _ASK,
            None,
            ctypes.byref(shape),
            ctypes.byref(dimensions),
            ctypes.byref(result),
        )
        _check(self._library, status)
        sizes = tuple(shape[i] for i in range(dimensions.value))
        return np.ctypeslib.as_array(result, shape=sizes).copy()  # the library reuses its buffer

    def ubjson(self) -> bytes:
        """Return the model in XGBoost's present format."""
        return self._saved("ubj")

    def text(self) -> bytes:
        """Return the model as JSON text, which says the same."""
        return self._saved("json")

    def _saved(self, form: str) -> bytes:
        length, content = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char)()
        status = self._library.XGBoosterSaveModelToBuffer(
            self._handle,
            json.dumps({"format": form}).encode(),
            ctypes.byref(length),
            ctypes.byref(content),
        )
        _check(self._library, status)
        return ctypes.string_at(content, length.value)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.XGBoosterFree(self._handle)


def as_ubjson(serialized: bytes) -> bytes:
    """Return a model that XGBoost wrote as JSON text (before 1.6) as UBJSON, any other as it is."""
    is_text = serialized[1:2] in (b'"', b" ", b"\n")
    return Booster(serialized).ubjson() if is_text else serialized


@dataclass(frozen=True, slots=True)
class Ranges:
    """What each feature ranged over in training; both ends belong to it."""

    low: NDArray[np.float64]
    """[k]"""
    high: NDArray[np.float64]
    """[k] at least `low`."""

    def share_outside(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [n], the share of the k features of each row [n, k] that lie outside."""
        outside = (features < self.low) | (features > self.high)
        return np.asarray(np.count_nonzero(outside, axis=1) / features.shape[1])


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What training (or an import) yields, and what a bundle on disk holds."""

    symbol: str
    interval: str
    feature_set: str
    """Name of the feature set; see `candled.core.features.feature_set`."""
    feature_names: tuple[str, ...]
    """[k] in the order of the model's columns."""
    mean: NDArray[np.float64]
    """[k] of the scaler."""
    scale: NDArray[np.float64]
    """[k] of the scaler; finite and above zero."""
    booster: bytes
    """XGBoost's own serialised form (UBJSON)."""
    threshold: float
    target: Target | None
    """The label's parameters, where known."""
    regime: str
    """Preset of the regime machine that the labels were made with."""
    provenance: Mapping[str, object]
    """Plain JSON values: training range, data hash, samples, library versions, evaluation."""
    evidence: tuple[Evidence, ...] = ()
    """Bands of each side, ascending and without holes; empty when nothing is known."""
    ranges: Ranges | None = None
    """None when they are not known."""
    abstain_limits: NDArray[np.float32] | None = None
    """[3] class-conditional conformal limits; None when they are not known."""
    reference: Reference | None = None
    """How training looked; None when that is not known."""


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle's model in memory."""

    name: str
    digest: str
    """Digest of everything in the bundle; part of every decision's id."""
    symbol: str
    interval: str
    features: FeatureSet
    mean: NDArray[np.float64]
    """[k]"""
    scale: NDArray[np.float64]
    """[k]"""
    booster: Booster
    threshold: float
    """The threshold that the model was published with."""
    target: Target | None
    evidence: tuple[Evidence, ...] = ()
    """Bands of each side, ascending and without holes; empty when nothing is known."""
    ranges: Ranges | None = None
    """None when they are not known."""
    abstain_limits: NDArray[np.float32] | None = None
    """[3] a class whose probability is below its limit is ruled out; None when not known."""
    reference: Reference | None = None
    """How training looked; None when that is not known."""
    trained_until: int | None = None
    """Open time of the last bar that it was trained on (UTC ms); None when not known."""

    def scaled(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scale rows [n, k] as StandardScaler does, then round to what XGBoost reads."""
        return ((features - self.mean) / self.scale).astype(np.float32)

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return [n, 3] (no trade, long, short) for finite feature rows [n, k]."""
        return self.booster.predict(self.scaled(features))

    def novelty(self, features: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Return [n], the share of each row's features outside the training ranges, if known."""
        return self.ranges.share_outside(features) if self.ranges else None

    def ambiguous(
        self, probabilities: NDArray[np.float32], classes: NDArray[np.integer]
    ) -> NDArray[np.bool_] | None:
        """Return [n], whether more or else than a row's own class remains, if limits are known.

        The prediction set of probabilities [n, 3] is each class with probability >= its limit,
        compared in float32; `classes` [n] are the classes that should be alone in it.
        """
        if self.abstain_limits is None:
            return None
        inside = probabilities >= self.abstain_limits
        own = inside[np.arange(len(classes)), classes]
        return np.asarray(~own | (np.count_nonzero(inside, axis=1) != 1))

    def evidence_of(self, side: Side, probability: float) -> Evidence | None:
        """Return what is known of a side's signals at this probability (a float32, widened)."""
        bands = (band for band in self.evidence if band.side is side)
        return next((band for band in bands if band.covers(probability)), None)


@functools.cache
def _library() -> ctypes.CDLL:
    """Load libxgboost out of the installed wheel without importing the package."""
    spec = importlib.util.find_spec("xgboost")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        path = os.path.join(place, "lib", "libxgboost.so")  # noqa: PTH118 - no files in the core
        if os.path.exists(path):  # noqa: PTH110
            library = ctypes.CDLL(path)
            library.XGBGetLastError.restype = ctypes.c_char_p
            return library
    raise ModelError("libxgboost.so was not found; install the package xgboost-cpu")


def _check(library: ctypes.CDLL, status: int) -> None:
    if status != 0:
        message = library.XGBGetLastError().decode(errors="replace").strip()
        raise ModelError(f"XGBoost: {message.splitlines()[0] if message else 'unknown error'}")
