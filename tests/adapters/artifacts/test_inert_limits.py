"""What a hostile or broken file can cost the inert pickle machine, and that it stays inert."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import pickle
import pickletools
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from candled_adapters.artifacts.inert_pickle import ArtifactError, Limits
from inert_cases import COMPRESSIONS, P, dumped, inert, marking, refusal, wrapper

LONG_TEXT = b"X" + struct.pack("<I", 1000) + b"x" * 1000


# ---- what it costs


def test_deep_nesting():
    """Nesting beyond the limit is refused, in marks or without them, and soon."""
    assert "nested" in refusal(P + b"(" * 1000 + b"N.").what
    assert "nested" in refusal(P + b"N" + b"\x85" * 100_000 + b".").what
    assert "nested" in refusal(P + b"]" * 1000 + b"a" * 999 + b".").what
    limit = Limits().depth
    assert inert(P + b"N" + b"\x85" * limit + b".")
    refusal(P + b"N" + b"\x85" * (limit + 1) + b".")


def test_billion_laughs():
    """A value that repeats itself into the billions is refused, not written out."""
    pairs = b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86\x94" for n in range(40))
    assert "repeats itself" in refusal(P + b"(" + b"N\x85\x94" + pairs + b"t.").what


def test_cycle():
    """A value that contains itself is refused."""
    assert "contains itself" in refusal(P + b"]\x94h\x00a.").what
    loop = {}
    loop["a"] = [loop]
    assert "contains itself" in refusal(pickle.dumps(loop)).what


ENCODE = b"c_codecs\nencode\n\x94" + LONG_TEXT + b"X\x06\x00\x00\x00latin1\x86\x94"
MEGABYTE = b"B" + struct.pack("<I", 2**20) + bytes(2**20)


def test_repeated_encoding():
    """One remembered text cannot be made into bytes again and again without end."""
    raw = P + b"(" + ENCODE + b"(" + b"h\x00h\x01R" * 200 + b"tt."
    assert "out of its parts" in refusal(raw, made=100_000).what
    assert inert(raw)


def repeated_truths():
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00b1\x85R(K\x03X\x01\x00\x00\x00|NNN"
    dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    args = b"(" + MEGABYTE + dtype + b"J\x00\x00\x10\x00\x85X\x01\x00\x00\x00Ct\x94"
    return b"cnumpy._core.numeric\n_frombuffer\n\x94" + args + b"h\x00h\x01R" * 100_000


def repeated_names():
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R(K\x03X\x01\x00\x00\x00|NNN"
    dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    names = b"](" + b"X\x01\x00\x00\x00a" * 100_000 + b"e"
    state = b"(K\x01J\xa0\x86\x01\x00\x85" + dtype + b"\x89" + names + b"t\x94"
    make = b"cnumpy.core.multiarray\n_reconstruct\n\x94cnumpy\nndarray\n\x85\x94"
    return make + state + b"h\x00h\x01Rh\x02b" * 50_000


def repeated_arguments():
    args = b"(" + b"N" * 200_000 + b"t\x94"
    return b"cnumpy\ndtype\n\x94" + args + b"h\x00h\x01R" * 90_000


def repeated_state():
    state = b"}(" + b"".join(b"X\x04\x00\x00\x00%04dN" % n for n in range(9999)) + b"u\x94"
    return b"cxgboost.core\nBooster\n\x94" + state + b"h\x00)\x81h\x01b" * 90_000


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (repeated_truths(), "out of its parts"),
        (repeated_names(), "out of its parts"),
        (repeated_arguments(), "repeats itself"),
        (repeated_state(), "repeats itself"),
    ],
    ids=["truths", "names", "arguments", "state"],
)
def test_repeated_work(body, what):
    """A large part that is used again and again does not cost its size each time."""
    started = time.monotonic()
    assert what in refusal(P + b"(" + body + b"t.").what
    assert time.monotonic() - started < 10


def test_counts():
    """The number of opcodes, of remembered values and the size have limits."""
    raw = pickle.dumps(list(range(1000)))
    assert "opcodes" in refusal(raw, operations=999).what
    assert "remembers" in refusal(pickle.dumps([str(n) for n in range(99)]), memo=50).what
    assert "larger than" in refusal(raw, size=len(raw) - 1).what
    assert inert(raw, size=len(raw)) == list(range(1000))


BOMB = bytes(20 * 2**20)


@pytest.mark.parametrize(
    "packed",
    [
        zlib.compress(BOMB, 1),
        gzip.compress(BOMB, 1, mtime=0),
        bz2.compress(BOMB, 1),
        lzma.compress(BOMB, preset=0),
        lzma.compress(BOMB, lzma.FORMAT_ALONE, preset=0),
    ],
    ids=["zlib", "gzip", "bz2", "xz", "lzma"],
)
def test_zip_bomb(packed):
    """A file that unpacks to more than the limit is given up without unpacking it all."""
    tracemalloc.start()
    error = refusal(packed, size=2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "unpacks to more than 1048576 bytes" in error.what
    assert peak < 8 * 2**20


def test_lzma_dictionary():
    """A compressed file that asks for gigabytes to be unpacked is refused."""
    packed = bytearray(lzma.compress(b"N", lzma.FORMAT_ALONE))
    packed[1:5] = struct.pack("<I", 2**31)
    assert "memory" in refusal(bytes(packed)).what.lower()


@pytest.mark.parametrize("compress", COMPRESSIONS[1:], ids=str)
def test_compressed_data_that_is_cut_or_longer(compress):
    """A cut compressed file and one with more after its end are refused."""
    raw = dumped(np.arange(9.0), compress)
    for bent in (raw[:-1], raw[: len(raw) // 2], raw[:8], raw + b"x", raw + raw):
        refusal(bent)


# ---- any bytes at all


def small_files():
    scaler = StandardScaler().fit([[1.0, 2.0], [3.0, 5.0]])
    scaler.feature_names_in_ = np.array(["a", "b"], dtype=object)
    return [dumped(scaler), dumped(scaler, protocol=2), pickle.dumps(scaler, 5), dumped(scaler, 3)]


SMALL = small_files()


def survive(raw):
    """Take it or refuse it; any other end fails the test."""
    try:
        return inert(raw)
    except ArtifactError as error:
        assert len(str(error)) < 1000  # noqa: PT017 - either end is right
        return error


@pytest.mark.parametrize("raw", SMALL, ids=["joblib", "protocol 2", "pickle", "zlib"])
def test_truncated_anywhere(raw):
    """A file cut at any byte is refused."""
    for size in range(len(raw)):
        refusal(raw[:size])


@pytest.mark.parametrize("raw", SMALL, ids=["joblib", "protocol 2", "pickle", "zlib"])
def test_every_byte_changed(raw):
    """A file with any byte changed is taken as data or refused."""
    started = time.monotonic()
    for place, change in itertools.product(range(len(raw)), (1, 2, 4, 16, 64, 128, 255)):
        bent = bytearray(raw)
        bent[place] ^= change
        survive(bytes(bent))
    assert time.monotonic() - started < 60


@given(
    st.sampled_from(SMALL[:3]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=300)
def test_any_bytes_changed(raw, changes):
    """A file with any bytes changed is taken as data or refused."""
    bent = bytearray(raw)
    for place, value in changes:
        bent[place % len(bent)] = value
    survive(bytes(bent))


OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
NAMES = [
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy._core.multiarray\nscalar\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy._core.numeric\n_frombuffer\n",
    b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81",
    b"c__builtin__\nbytearray\n",
    b"c_codecs\nencode\n",
    b"ccollections\nOrderedDict\n)R",
]
VALUES = [
    pickle.dumps(np.dtype("f8"), 2)[2:-1],
    pickle.dumps(np.arange(2.0), 5)[13:-1],
    b"X\x02\x00\x00\x00f8",
    b"X\x01\x00\x00\x00K",
    b"C\x08abcdefgh",
    b"K\x01\x85",
    b"(" + b"K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
    b")",
    b"}",
    b"]",
]


@given(
    st.lists(
        st.sampled_from(OPCODES) | st.sampled_from(NAMES) | st.sampled_from(VALUES), max_size=25
    )
)
@settings(max_examples=500)
def test_any_opcodes(pieces):
    """Any sequence of opcodes, known names and values is taken as data or refused."""
    survive(P + b"".join(pieces) + b".")


@given(st.sampled_from(NAMES[:5] + NAMES[6:8]), st.lists(st.sampled_from(VALUES), max_size=6))
@settings(max_examples=500)
def test_any_arguments(name, arguments):
    """A known function with any arguments, and any state for what it makes, is harmless."""
    survive(P + name + b"(" + b"".join(arguments) + b"tR.")
    survive(P + name + b")R(" + b"".join(arguments) + b"tb.")


AUDIT = """
import sys
from candled_adapters.artifacts.inert_pickle import ArtifactError, read_inert
files = [bytes.fromhex(line) for line in sys.stdin.read().split()]
def all_of_them():
    for raw in files:
        try:
            read_inert(raw, "some.joblib")
        except ArtifactError:
            pass
all_of_them()
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
all_of_them()
loaded = {"joblib", "sklearn", "xgboost", "pandas", "cloudpickle"} & sys.modules.keys()
print(sorted(set(seen) - {"builtins.id"}), loaded)
"""


def test_nothing_is_imported_called_or_opened(tmp_path):
    """While files are read, hostile ones too, Python's audit hooks see nothing but `id`."""
    armed = np.array([marking(tmp_path / "ran")], dtype=object)
    files = [*SMALL, pickle.dumps(marking(tmp_path / "ran")), dumped(armed), wrapper()]
    done = subprocess.run(
        [sys.executable, "-c", AUDIT],
        input="\n".join(raw.hex() for raw in files),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == "[] set()"
    assert not (tmp_path / "ran").exists()
