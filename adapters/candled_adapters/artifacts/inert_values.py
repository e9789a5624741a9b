"""What the inert pickle machine makes of names and of the few values it understands as data.

The names a notebook's files may speak, inert records of them, and our own arithmetic for numpy
dtypes, scalars and arrays of plain numbers. Nothing is imported or called by name; nothing here
knows files, offsets or opcodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from candled_adapters.artifacts.artifact import Refused, show

WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
SCALERS: Final = frozenset(
    {
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing.data.StandardScaler",  # scikit-learn before 0.22
    }
)
CLASSIFIER: Final = "xgboost.sklearn.XGBClassifier"
BOOSTER: Final = "xgboost.core.Booster"
ENCODER: Final = "xgboost.compat.XGBoostLabelEncoder"  # XGBoost 1.3 to 1.5
_NDARRAY: Final = "numpy.ndarray"
_DTYPE: Final = "numpy.dtype"
_RECONSTRUCT: Final = "numpy._core.multiarray._reconstruct"
#: Classes whose objects become records: made by NEWOBJ, filled by BUILD.
CLASSES: Final = SCALERS | {WRAPPER, CLASSIFIER, BOOSTER, ENCODER}

_PLAIN: Final = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_ORDERS: Final[dict[str, Literal["<", ">", "|"]]] = {"<": "<", ">": ">", "|": "|"}
_MOST_DIMENSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Global:
    """A dotted name out of the file. A name only: nothing is looked up."""

    name: str


@dataclass(slots=True, eq=False)
class Inert:
    """An object of the file as a record: what it would have been, never the thing itself."""

    name: str
    args: tuple[object, ...]
    state: dict[str, object] | None = None
    """What BUILD gave it; None before."""
    slot: int | None = None
    """Where the memo keeps it, so that a value that is complete only after BUILD can replace it."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What joblib says of the array whose bytes follow inline."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    order: str
    """``C`` or ``F``."""
    alignment: int | None
    """Set: one byte follows that says how many bytes of padding (at most this) come before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost. Texts, bytes and arrays never exceed the file's own (unpacked) size."""

    size: int = 256 * 2**20
    """Bytes, unpacked."""
    made: int = 2**30
    """Bytes of all that known functions make, counted each time: one text could serve for many."""
    operations: int = 500_000
    """Opcodes; a model of any size needs a few hundred, its trees are one string of bytes."""
    memo: int = 200_000
    depth: int = 64
    """Of containers in containers, and of open marks."""
    nodes: int = 1_000_000
    """Of the result, written out as a tree: a shared part counts wherever it is used."""


def named(dotted: str) -> Global:
    """Return the allowed name `dotted`, by its present spelling; anything else is refused."""
    name = dotted
    for old, new in (("numpy.core.", "numpy._core."), ("__builtin__.", "builtins.")):
        if name.startswith(old):
            name = new + name.removeprefix(old)
    if name not in _ALLOWED:
        raise Refused(f"asks for {dotted[:120]!r}, which no notebook model or scaler needs")
    return Global(name)


def call(function: Global, args: tuple[object, ...]) -> object:
    """Return the data that a known function would have made of `args`."""
    if function.name not in _CALLS:
        raise Refused(f"calls {function.name}, which is no function that makes plain data")
    return _CALLS[function.name](args)


def built(record: Inert, state: object) -> object:
    """Return what `record` becomes when BUILD gives it `state`: a value, or itself with a state."""
    if record.name == _DTYPE:
        return _dtype(record.args[0], state)
    if record.name == _RECONSTRUCT:
        return _array_of_state(state)
    if record.state is not None:
        raise Refused(f"gives a {record.name} its state twice")
    if not isinstance(state, dict):
        raise Refused(f"gives a {record.name} {show(state)} for its state, not a dict")
    record.state = state
    return record


def cost(value: object) -> int:
    """Return about how many bytes were looked at to make `value`."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, np.ndarray):
        return value.nbytes
    return 64 * len(value) if isinstance(value, tuple) else 0


def wrapped(state: dict[str, object]) -> Wrapped:
    """Read the state of a NumpyArrayWrapper."""
    known = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
    if not known >= state.keys():
        raise Refused("has an array wrapper with unknown fields")
    _is_ndarray(state.get("subclass"))
    alignment = state.get("numpy_array_alignment_bytes")
    if not (alignment is None or (type(alignment) is int and 0 < alignment < 2**8)):
        raise Refused(f"has an array alignment of {show(alignment)}")
    order = _order(state.get("order"))
    return Wrapped(_is_dtype(state.get("dtype")), _shape(state.get("shape")), order, alignment)


def numbers(
    dtype: np.dtype[np.generic], shape: tuple[int, ...], order: str, data: bytes, at: int = 0
) -> NDArray[np.generic]:
    """View `data` from byte `at` as an array (read-only, no copy)."""
    if dtype.hasobject:
        raise Refused("has an array of objects where numbers belong")
    count = math.prod(shape)
    if count * dtype.itemsize > len(data) - at:
        raise Refused(f"has an array of {count} numbers with too few bytes for it")
    flat = np.frombuffer(data, dtype, count, at) if count else np.empty(0, dtype)
    if dtype.kind == "b" and (flat.view(np.uint8) > 1).any():
        raise Refused("has a truth value that is neither 0 nor 1")
    return flat.reshape(shape, order="F" if order == "F" else "C")


def parts(value: object) -> Iterator[object]:
    """Yield what a container holds; nothing for anything else. Each part may be shared."""
    if isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, Inert):
        yield value.args
        yield value.state


def measure(root: object, limits: Limits) -> None:
    """Refuse cycles and anything that would be too deep or too large to walk as a tree."""
    known: dict[int, tuple[int, int]] = {}  # id: depth, nodes
    above: set[int] = set()
    todo = [(root, False)]
    while todo:
        value, entered = todo.pop()
        if id(value) in known:  # before looking at its parts: it may be shared very often
            continue
        held = [part for part in parts(value) if isinstance(part, list | tuple | dict | Inert)]
        if entered:
            sizes = [known[id(part)] for part in held]
            depth = 1 + max((size[0] for size in sizes), default=0)
            nodes = 1 + sum(1 for _ in parts(value)) + sum(size[1] for size in sizes)
            if depth > limits.depth or nodes > limits.nodes:
                raise Refused("is nested too deep or repeats itself too often")
            known[id(value)] = (depth, nodes)
        elif id(value) in above:
            raise Refused("contains itself")
        else:
            above.add(id(value))
            todo.append((value, True))
            todo.extend((part, False) for part in held)


# Values out of the file are compared only once their type is known: an array compared with
# anything is an array.


def _encode(args: tuple[object, ...]) -> bytes:
    match args:
        case (str() as text, str() as encoding) if encoding == "latin1":
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                raise Refused("has bytes written as text outside latin-1") from None
    raise Refused("encodes text in a way no pickle of bytes does")


def _bytes(args: tuple[object, ...]) -> bytes:
    match args:
        case ():
            return b""
        case (bytes() as data,):
            return data
    raise Refused("makes bytes of something that is not bytes")


def _ordered(args: tuple[object, ...]) -> dict[str, object]:
    if args:
        raise Refused("makes an OrderedDict of arguments")
    return {}


def _dtype_call(args: tuple[object, ...]) -> Inert:
    if not args:
        raise Refused("makes a dtype of nothing")
    return Inert(_DTYPE, args)


def _scalar(args: tuple[object, ...]) -> object:
    match args:
        case (np.dtype() as dtype, bytes() as data) if len(data) == dtype.itemsize:
            return numbers(dtype, (), "C", data).item()
    raise Refused("has a numpy scalar that is not a dtype and its bytes")


def _reconstruct(args: tuple[object, ...]) -> Inert:
    _is_ndarray(args[0] if args else None)
    return Inert(_RECONSTRUCT, ())


def _from_buffer(args: tuple[object, ...]) -> NDArray[np.generic]:
    match args:
        case (bytes() as data, np.dtype() as dtype, shape, order) | (
            bytes() as data,
            np.dtype() as dtype,
            shape,
            order,
            None,
        ):
            return numbers(dtype, _shape(shape), _order(order), data)
        case (bytes() as data, np.dtype() as dtype, shape, str() as order, axes) if order == "K":
            return _permuted(numbers(dtype, _shape(shape), "C", data), _shape(axes))
    raise Refused("has an array that is not a buffer, a dtype, a shape and an order")


def _permuted(array: NDArray[np.generic], axes: tuple[int, ...]) -> NDArray[np.generic]:
    if sorted(axes) != list(range(array.ndim)):
        raise Refused("has an array with an impossible order of axes")
    return array.transpose(axes)


def _array_of_state(state: object) -> object:
    match state:
        case (int(), shape, np.dtype() as dtype, bool() as fortran, bytes() as data):
            return numbers(dtype, _shape(shape), "F" if fortran else "C", data)
        case (int(), shape, np.dtype() as dtype, bool(), list() as items) if dtype.hasobject:
            return _names(_shape(shape), items)
    raise Refused("has an array with a state that numpy does not write")


def _names(shape: tuple[int, ...], items: list[object]) -> tuple[str, ...]:
    """Object arrays are data only as one row of names."""
    names = tuple(item for item in items if type(item) is str)
    if len(names) != len(items) or shape != (len(items),):
        raise Refused("has an array of objects that is not one row of names")
    return names


def _dtype(code: object, state: object) -> np.dtype[np.generic]:
    """Only the byte order of a dtype's state may say something: no fields, no subarray."""
    match state:
        case (int(), str() as order, None, None, None, int(), int(), int()) if order in _ORDERS:
            if isinstance(code, str) and code == "O8":
                return np.dtype(object)
            if isinstance(code, str) and code in _PLAIN:
                return np.dtype(code).newbyteorder(_ORDERS[order])
    raise Refused(f"has an array of dtype {show(code)}, which is not plain numbers")


def _is_ndarray(value: object) -> None:
    if not isinstance(value, Global) or value.name != _NDARRAY:
        raise Refused("has an array of a subclass of numpy.ndarray")


def _is_dtype(value: object) -> np.dtype[np.generic]:
    if not isinstance(value, np.dtype):
        raise Refused(f"has {show(value)} where a dtype belongs")
    return value


def _order(value: object) -> str:
    if not isinstance(value, str) or value not in ("C", "F"):
        raise Refused(f"has an array in order {show(value)}, not 'C' or 'F'")
    return value


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > _MOST_DIMENSIONS:
        raise Refused(f"has {show(value)} where an array's shape belongs")
    for size in value:
        if type(size) is not int or not 0 <= size < 2**31:
            raise Refused(f"has an array with {show(size)} for one of its sizes")
    if math.prod(max(size, 1) for size in value) >= 2**48:
        raise Refused("has an array with an impossible shape")
    return value


_CALLS: Final[dict[str, Callable[[tuple[object, ...]], object]]] = {
    "_codecs.encode": _encode,  # how protocol 2 writes bytes
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "collections.OrderedDict": _ordered,
    _DTYPE: _dtype_call,
    "numpy._core.multiarray.scalar": _scalar,
    _RECONSTRUCT: _reconstruct,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
_ALLOWED: Final = CLASSES | _CALLS.keys() | {_NDARRAY}
