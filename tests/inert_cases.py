"""Bytes for the tests of the inert pickle machine: made by real joblib and pickle, or by hand."""

from __future__ import annotations

import io
import os
import pickle

import joblib
import numpy as np
import pytest

from candled_adapters.artifacts.inert_pickle import ArtifactError, Limits, read_inert

#: joblib.dump's `compress`: all that the standard library can undo.
COMPRESSIONS = [0, 3, ("zlib", 1), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)]
#: How a pickle of protocol 4 opens.
P = b"\x80\x04"


def inert(raw, **limits):
    return read_inert(raw, "some.joblib", Limits(**limits))


def dumped(value, compress=0, protocol=None):
    file = io.BytesIO()
    joblib.dump(value, file, compress=compress, protocol=protocol)
    return file.getvalue()


def refusal(raw, **limits):
    with pytest.raises(ArtifactError) as caught:
        inert(raw, **limits)
    return caught.value


class Calls:
    """Pickles as a call of whatever it is given."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def marking(marker):
    return Calls(os.mkdir, (str(marker),))


ARRAY = b"\x10" + b"\xff" * 16 + b"\x01" * 16


def wrapper(**changes):
    """Make a joblib array whose wrapper says something else than joblib would."""
    state = {
        "subclass": np.ndarray,
        "shape": (2,),
        "order": "C",
        "dtype": np.dtype("f8"),
        "allow_mmap": True,
        "numpy_array_alignment_bytes": 16,
    }
    array = joblib.numpy_pickle.NumpyArrayWrapper.__new__(joblib.numpy_pickle.NumpyArrayWrapper)
    array.__dict__.update(state | changes)
    return pickle.dumps(array, 3)[:-1] + ARRAY + b"."
