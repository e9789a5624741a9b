"""The inert pickle machine reads what joblib, numpy and pickle write, and does nothing else."""

from __future__ import annotations

import builtins
import collections
import io
import itertools
import operator
import os
import pickle
import re
import struct

import joblib
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from candled_adapters.artifacts.inert_pickle import Inert
from inert_cases import ARRAY, COMPRESSIONS, Calls, P, dumped, inert, marking, refusal, wrapper

DTYPES = ["f2", "f4", "f8", ">f8", "i1", "i2", "i4", "i8", ">i4", "u1", "u2", "u4", "u8", "?"]
SHAPES = [(), (0,), (5,), (3, 4), (0, 3), (2, 3, 4)]
PROTOCOLS = [2, 3, 4, 5]


def same_array(ours, theirs):
    assert isinstance(ours, np.ndarray)
    assert ours.shape == theirs.shape
    assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")  # joblib swaps bytes
    assert ours.tolist() == theirs.tolist()


def example_array(dtype, shape, order):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2 + 1
    return np.array(values if dtype != "?" else values > 1, dtype=dtype, order=order)


# ---- what it reads


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_joblib_arrays(dtype, shape, order):
    """An array of plain numbers comes out as joblib would load it, whatever its type and order."""
    array = example_array(dtype, shape, order)
    same_array(inert(dumped(array)), joblib.load(io.BytesIO(dumped(array))))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("compress", COMPRESSIONS, ids=str)
def test_joblib_compressions_and_protocols(compress, protocol):
    """Every compression of the standard library and every protocol since 2 is read."""
    array = np.random.default_rng(1).normal(size=(7, 3))
    raw = dumped({"a": array, "b": [array.T, "text"]}, compress, protocol)
    ours = inert(raw)
    same_array(ours["a"], array)
    same_array(ours["b"][0], array.T)
    assert ours["b"][1] == "text"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_pickled_without_joblib(shape, protocol):
    """An array that was pickled plainly is read too, in any order of its axes."""
    for axes in itertools.permutations(range(len(shape))):
        array = example_array("f8", shape, "C").transpose(axes)
        same_array(inert(pickle.dumps(array, protocol)), array)
        fortran = np.asfortranarray(array)
        same_array(inert(pickle.dumps(fortran, protocol)), fortran)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_bytes_and_shared_arrays(protocol):
    """Scalars of numpy come as Python numbers, bytearrays as bytes, and a shared array is found."""
    array = np.arange(3.0)
    value = {
        "scalars": [np.float64(0.1), np.int32(-7), np.bool_(True), np.float32(0.1)],
        "bytes": [b"", b"\x00\xff", bytearray(b""), bytearray(b"\xfe")],
        "ordered": collections.OrderedDict(a=[1.5]),
        "twice": [array, array],
    }
    ours = inert(pickle.dumps(value, protocol))
    assert ours["scalars"] == [0.1, -7, True, float(np.float32(0.1))]
    assert ours["bytes"] == [b"", b"\x00\xff", b"", b"\xfe"]
    assert ours["ordered"] == {"a": [1.5]}
    same_array(ours["twice"][0], array)
    assert ours["twice"][1] is ours["twice"][0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("compress", [0, 3])
def test_names(compress, protocol):
    """An array of objects is taken when it is one row of text, as a tuple."""
    names = np.array(["ma5_sma", "ma6_sma", "é"], dtype=object)
    expected = tuple(joblib.load(io.BytesIO(dumped(names, compress, protocol))))
    assert inert(dumped(names, compress, protocol)) == expected
    assert inert(pickle.dumps(names, protocol)) == expected


def test_object_becomes_a_record():
    """An object is a record of its class's name and its state, not an object."""
    scaler = StandardScaler().fit([[1.0, 2.0], [3.0, 5.0]])
    record = inert(dumped(scaler))
    assert type(record) is Inert
    assert record.name == "sklearn.preprocessing._data.StandardScaler"
    assert record.state is not None
    assert record.state["mean_"].tolist() == [2.0, 3.5]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**127), 2**127 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain, st.sampled_from(PROTOCOLS))
@example([["long" * 100_000, b"long" * 100_000, list(range(3000))]], 4)
@example({"a": {"b": {"c": ()}}}, 2)
def test_plain_values_return(value, protocol):
    """Plain values of any shape come back equal, for every protocol."""
    assert inert(pickle.dumps(value, protocol)) == value


# ---- what it refuses


class WithState:
    def __init__(self, state):
        self.__dict__.update(state)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_does_not_run(tmp_path, protocol):
    """A file that runs code in pickle is refused by the name it asks for, without effect."""
    marker = tmp_path / "ran"
    raw = pickle.dumps({"a": [marking(marker)]}, protocol)
    assert "'posix.mkdir'" in refusal(raw).what
    assert not marker.exists()
    pickle.loads(raw)  # noqa: S301 - shows that the file is armed; it makes a directory
    assert marker.exists()


@pytest.mark.parametrize("compress", [0, 3])
def test_object_array_does_not_run(tmp_path, compress):
    """Code inside an array of objects runs in joblib.load and is refused here, without effect."""
    marker = tmp_path / "ran"
    raw = dumped({"mean_": np.array([marking(marker)], dtype=object)}, compress)
    assert "'posix.mkdir'" in refusal(raw).what
    assert not marker.exists()
    joblib.load(io.BytesIO(raw))
    assert marker.exists()


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, ("true",)),
        Calls(eval, ("1",)),
        Calls(exec, ("1",)),
        Calls(getattr, (1, "real")),
        Calls(__import__, ("os",)),
        Calls(operator.attrgetter, ("real",)),
        Calls(pickle.loads, (b"",)),
        Calls(joblib.load, ("other.joblib",)),
        Calls(np.load, ("other.npy",)),
        Calls(np.fromfile, ("/etc/hostname",)),
        Calls(np.memmap, ("/etc/hostname",)),
        Calls(builtins.open, ("/etc/hostname",)),
        WithState({"a": 1}),
        {1, 2},
        frozenset({1}),
        1 + 2j,
        range(3),
        StandardScaler,
        np.array(["text"]),
        np.array([1], dtype="M8[s]"),
        np.zeros(1, dtype=[("a", "f8")]),
        np.zeros(2, dtype="c16"),
        np.ma.zeros(2),
        np.array([1, "a"], dtype=object),
        np.array([[1]], dtype=object),
        np.array([["a"]], dtype=object),
        np.array([None]),
        {1: 2},
        2**200,
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", repr(getattr(value, "reduced", value)))[:40],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_refused_values(value, protocol):
    """Anything that is not plain data or a known record is refused, wherever it sits."""
    if value is StandardScaler:
        assert not isinstance(inert(pickle.dumps(value, protocol)), type)
        return
    refusal(pickle.dumps([value], protocol))
    refusal(dumped({"a": value}, 0, protocol))


@pytest.mark.parametrize(
    ("raw", "offset", "what"),
    [
        (P + b"cos\nsystem\n(X\x04\x00\x00\x00trueo.", 2, "os.system"),
        (P + b"cnumpy\ndtype\n(ios\nsystem\n.", 16, "INST"),
        (P + b"(cnumpy\ndtype\no.", 16, "OBJ"),
        (P + b"Pname\n.", 2, "PERSID"),
        (P + b"NQ.", 3, "BINPERSID"),
        (P + b"\x82\x01.", 2, "EXT1"),
        (P + b"\x83\x01\x00.", 2, "EXT2"),
        (P + b"\x84\x01\x00\x00\x00.", 2, "EXT4"),
        (P + b"]2.", 3, "DUP"),
        (P + b"N0.", 3, "POP"),
        (P + b"I1\n.", 2, "INT"),
        (P + b"\x97.", 2, "NEXT_BUFFER"),
        (P + b"}(K\x01K\x02\x92.", 8, "NEWOBJ_EX"),
        (P + b"\xff.", 2, "0xff"),
        (P + P + b"N.", 2, "PROTO"),
        (P + b"\x8e" + struct.pack("<Q", 2**60) + b"x.", 2, "ends too early"),
        (P + b"\x8d" + struct.pack("<Q", 2**63) + b"x.", 2, "ends too early"),
        (P + b"\x96" + struct.pack("<Q", 2**64 - 1) + b"x.", 2, "ends too early"),
        (P + b"B\xff\xff\xff\xffx.", 2, "ends too early"),
        (P + b"\x95" + struct.pack("<Q", 2**62) + b"N.", 2, "frame"),
        (P + b"\x95" + struct.pack("<Q", 2) + b"M\x01\x00.", 11, "frame"),
        (P + b"r\xff\xff\xff\xff.", 2, "remembers"),
        (P + b"Nr\xff\xff\xff\xff.", 3, "remembers"),
        (P + b"h\x00.", 2, "recalls"),
        (P + b"a.", 2, "empty stack"),
        (P + b"Na.", 3, "appends"),
        (P + b"Ne.", 3, "mark"),
        (P + b"}NNs(.", 5, "key"),
        (P + b"](.", 4, "one value"),
        (P + b".", 2, "one value"),
        (P + b"NN.", 4, "one value"),
        (P + b"N.N", 3, "after its end"),
        (P + b"}}b.", 4, "sets the state"),
        (P + b"NNR.", 4, "arguments"),
        (P + b"N)R.", 4, "calls None"),
        (P + b"cnumpy\nndarray\n)R.", 18, "calls numpy.ndarray"),
        (P + b"cxgboost.core\nBooster\n)R.", 25, "calls xgboost.core.Booster"),
        (P + b"cnumpy\ndtype\n)\x81.", 16, "makes an object"),
        (P + b"cxgboost.core\nBooster\nK\x01\x85\x81.", 27, "gives it arguments"),
        (P + b"cxgboost.core\nBooster\n)\x81K\x01b.", 28, "state"),
        (P + b"cxgboost.core\nBooster\n)\x81}b}b.", 29, "twice"),
        (P + b"c" + b"a" * 300 + b"\nb\n.", 2, "name without an end"),
        (P + b"NN\x93.", 4, "not text"),
        (P + b"X\x02\x00\x00\x00\xed\xa0.", 2, "UTF-8"),
        (P + b"\x8a\xff" + b"\x01" * 255 + b".", 2, "255 bytes"),
        (b"(lp0\n.", 0, "protocol"),
        (b"\x80\x06N.", 0, "protocol"),
        (b"\x80\x01N.", 0, "protocol"),
        (b"", 0, "early"),
        (b"\x93NUMPY\x01\x00", 0, "protocol"),
        (b"\x04\x22\x4d\x18", 0, "lz4"),
        (b"\x28\xb5\x2f\xfd", 0, "zstd"),
        (b"PK\x03\x04", 0, "zip"),
        (b"ZF0x10", 0, "joblib before"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_refused_by_name_and_place(raw, offset, what):
    """A refusal says the file, the byte and what stands there."""
    error = refusal(raw)
    assert what in error.what
    assert error.offset == offset
    assert error.path == "some.joblib"
    assert str(error).startswith(f"some.joblib, byte {offset}: ")
    assert error.mend


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (2**40,)},
        {"shape": (2**31 - 1,) * 8},
        {"shape": (0,) + (2**31 - 1,) * 7},
        {"shape": (-1,)},
        {"shape": (True,)},
        {"shape": [2]},
        {"shape": (2,) + (1,) * 8},
        {"shape": (3,)},
        {"order": "K"},
        {"order": np.arange(2)},
        {"dtype": "f8"},
        {"dtype": np.dtype("c16")},
        {"dtype": np.dtype("V8")},
        {"subclass": np.dtype},
        {"subclass": np.arange(2)},
        {"subclass": None},
        {"numpy_array_alignment_bytes": 256},
        {"numpy_array_alignment_bytes": "16"},
        {"more": 1},
    ],
    ids=str,
)
def test_array_wrapper_that_lies(changes):
    """An array that is not what joblib writes is refused before any memory is asked for."""
    assert inert(wrapper()).shape == (2,)
    bent = wrapper(**changes)
    build = len(bent) - len(ARRAY) - 2
    assert refusal(bent).offset <= build


def test_truth_values():
    """A truth value is 0 or 1 in the file; numpy would take any byte, and answer wrongly later."""
    raw = dumped(np.array([True, True]))
    assert raw.endswith(b"\x01\x01.")
    assert "truth value" in refusal(raw[:-2] + b"\x02.").what


def test_array_inside_a_nested_pickle(tmp_path):
    """The pickle inside an array of objects may not hold joblib arrays of its own."""
    outer = dumped(np.array(["a"], dtype=object))
    inner = outer.rindex(b"\x80\x05")
    bent = outer[:inner] + wrapper(numpy_array_alignment_bytes=None)
    assert "where joblib writes none" in refusal(bent).what
    assert not list(tmp_path.iterdir())


def test_state_tricks():
    """A state for something that is no record, or of another kind, is refused."""
    for value in (
        Calls(np.dtype, ("f8",), {"a": 1}),
        Calls(np.dtype, ("f8",), (3, "<", None, ("a",), {"a": 1}, -1, -1, 0)),
        Calls(np.dtype, (np.arange(3),), (3, "<", None, None, None, -1, -1, 0)),
        Calls(np.dtype, ("f8",), (np.arange(3), np.arange(3), None, None, None, -1, -1, 0)),
        Calls(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), {"a": 1}),
        Calls(np._core.multiarray._reconstruct, (np.matrix, (0,), b"b")),
        Calls(np._core.multiarray.scalar, (np.dtype("f8"), b"1234567")),
        Calls(np._core.multiarray.scalar, (np.arange(4), np.arange(4))),
        Calls(np._core.numeric._frombuffer, (b"12345678", np.dtype("f8"), (1,), np.arange(3))),
        Calls(np._core.numeric._frombuffer, (b"12345678", np.dtype("f8"), (1,), "K", (1,))),
        Calls(
            np._core.numeric._frombuffer, (b"12345678", np.dtype("f8"), (1,), np.dtype("f8"), ())
        ),
    ):
        refusal(pickle.dumps([value], 4))
