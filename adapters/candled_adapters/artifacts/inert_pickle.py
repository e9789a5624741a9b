"""A pickle machine that executes nothing: it turns a notebook's joblib files into inert records.

A pickle is a program. Python's machine imports names and calls them; this one has a short table of
opcodes, a short list of names (`inert_values`), and neither imports nor calls anything, so there is
nothing for a hostile file to reach. Whatever is not in the tables is refused with its byte offset.
Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py. joblib's addition: after
the BUILD of a NumpyArrayWrapper the array's bytes follow inline, or for an array of objects a whole
pickle of its own, which this same machine reads:
https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle.py. The start of a real scaler:

    80 04 95 8b01000000000000 8c 1b "sklearn.preprocessing._data" 94 8c 0e "StandardScaler" 94 93 ..

It must not know models, scalers, or what a record is good for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from candled_adapters.artifacts.artifact import ArtifactError, Refused, inflate, show
from candled_adapters.artifacts.inert_values import (
    CLASSES,
    WRAPPER,
    Global,
    Inert,
    Limits,
    built,
    call,
    cost,
    measure,
    named,
    numbers,
    wrapped,
)

__all__ = ["LIMITS", "ArtifactError", "Global", "Inert", "Limits", "read_inert"]


LIMITS: Final = Limits()
_LONGEST_INT: Final = 16  # bytes
_LONGEST_NAME: Final = 200
_PROTOCOLS: Final = range(2, 6)


def read_inert(raw: bytes, source: str, limits: Limits = LIMITS) -> object:
    """Return what a (compressed) pickle or joblib file holds, as data.

    None, bool, int, float, str, bytes (also for bytearray), list, tuple, dict with str keys, numpy
    arrays of plain numbers (read-only; one row of names comes as a tuple of str), and `Inert` for
    objects. `source` names the file in `ArtifactError`, the only exception. The result has no
    cycles, and walking it as a tree is bounded by `limits`.
    """
    data = inflate(raw, source, limits.size)
    machine = _Machine(data, limits)
    try:
        result = machine.run_all()
        measure(result, limits)
    except Refused as no:
        raise ArtifactError(source, machine.started, no.what, no.mend) from None
    return result


class _Machine:
    """One pass over one stream; a nested stream is another run of the same machine."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.limits = limits
        self.position = 0
        self.started = 0
        self.operations = 0
        self.made = 0
        self.nested = False
        self.clear()

    def clear(self) -> None:
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: list[object] = []
        self.frame_end = 0

    def run_all(self) -> object:
        """Run, and see that this is all there is."""
        result = self.run()
        if self.position != len(self.data):
            raise Refused("goes on after its end")
        return result

    def run(self) -> object:
        """Run to STOP and return the one value that is left."""
        self.started = self.position
        if self.take(1) != b"\x80" or self.take(1)[0] not in _PROTOCOLS:
            raise Refused("is not a pickle of protocol 2 to 5", "Save it with joblib.dump.")
        while (code := self.opcode()) != _STOP:
            operation = _OPERATIONS.get(code)
            if operation is None:
                name = _REFUSED_NAMES.get(code, f"0x{code:02x}")
                raise Refused(f"uses the pickle opcode {name}, which no notebook file needs")
            operation(self)
        if len(self.stack) != 1 or self.marks:
            raise Refused("does not end with one value")
        return self.stack[0]

    def opcode(self) -> int:
        self.started = self.position
        self.operations += 1
        if self.operations > self.limits.operations:
            raise Refused(f"has more than {self.limits.operations} opcodes")
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise Refused("ends too early", "It is truncated: copy it again.")
        if self.position < self.frame_end < end:
            raise Refused("has a value that runs over the end of its frame")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(value)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise Refused("takes a value from an empty stack")
        return self.stack.pop()

    def pop_tuple(self) -> tuple[object, ...]:
        value = self.pop()
        if not isinstance(value, tuple):
            raise Refused(f"has {show(value)} where arguments belong")
        return value

    def pop_mark(self) -> list[object]:
        if not self.marks:
            raise Refused("closes a mark that was not opened")
        items, self.stack = self.stack, self.marks.pop()
        return items

    # ---- opcodes, in the order of the table below

    def frame(self) -> None:
        size = self.number("<Q")
        if self.position < self.frame_end or size > len(self.data) - self.position:
            raise Refused("has an impossible frame")
        self.frame_end = self.position + size

    def mark(self) -> None:
        if len(self.marks) >= self.limits.depth:
            raise Refused(f"is nested more than {self.limits.depth} deep")
        self.marks.append(self.stack)
        self.stack = []

    def integer(self) -> None:
        size = self.number("<B")
        if size > _LONGEST_INT:
            raise Refused(f"has an integer of {size} bytes")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def real(self) -> None:
        self.push(struct.unpack(">d", self.take(8))[0])

    def text(self, layout: str) -> None:
        try:
            self.push(self.take(self.number(layout)).decode())
        except UnicodeDecodeError:
            raise Refused("has text that is not UTF-8") from None

    def blob(self, layout: str) -> None:
        self.push(self.take(self.number(layout)))

    def some(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[object]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, list):
            raise Refused(f"appends to {show(target)}")
        target.extend(items)

    def update(self, items: list[object]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or len(items) % 2:
            raise Refused(f"sets items of {show(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise Refused(f"has {show(key)} for a key, not text")
            target[key] = value

    def remember(self, index: int) -> None:
        if not self.stack or index != len(self.memo) or index >= self.limits.memo:
            raise Refused(f"remembers something under the number {index}")
        value = self.stack[-1]
        if isinstance(value, Inert):
            value.slot = index
        self.memo.append(value)

    def recall(self, index: int) -> None:
        if index >= len(self.memo):
            raise Refused(f"recalls number {index}, which was not remembered")
        self.push(self.memo[index])

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + _LONGEST_NAME)
        if end < 0:
            raise Refused("has a name without an end")
        return self.take(end + 1 - self.position)[:-1].decode("ascii", "replace")

    def name_inline(self) -> None:
        module = self.line()
        self.push(named(f"{module}.{self.line()}"))

    def name_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("has a name that is not text")
        self.push(named(f"{module}.{name}"))

    def reduce(self) -> None:
        args, function = self.pop_tuple(), self.pop()
        if not isinstance(function, Global):
            raise Refused(f"calls {show(function)}")
        self.make(call(function, args))

    def make(self, value: object) -> None:
        self.made += cost(value)
        if self.made > self.limits.made:
            raise Refused(f"makes more than {self.limits.made} bytes out of its parts")
        self.push(value)

    def new(self) -> None:
        args, kind = self.pop_tuple(), self.pop()
        if not isinstance(kind, Global) or kind.name not in CLASSES or args:
            what = kind.name if isinstance(kind, Global) else show(kind)
            raise Refused(f"makes an object of {what}, or gives it arguments")
        self.push(Inert(kind.name, ()))

    def build(self) -> None:
        state, record = self.pop(), self.pop()
        if not isinstance(record, Inert):
            raise Refused(f"sets the state of {show(record)}")
        value = built(record, state)
        if record.name == WRAPPER:
            value = self.array(record)
        if record.slot is not None and value is not record:
            self.memo[record.slot] = value
        self.make(value)

    def array(self, wrapper: Inert) -> object:
        """Read the array that follows its wrapper."""
        facts = wrapped(wrapper.state or {})
        if self.nested or self.position < self.frame_end:
            raise Refused("has an inline array where joblib writes none")
        if facts.dtype.hasobject:
            return self.names(facts.shape)
        if facts.alignment is not None:
            padding = self.number("<B")
            if padding > facts.alignment:
                raise Refused(f"pads an array by {padding} bytes")
            self.take(padding)
        array = numbers(facts.dtype, facts.shape, facts.order, self.data, self.position)
        self.position += array.nbytes
        return array

    def names(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Read the pickle of an array of objects: names, or nothing we take."""
        outer = (self.stack, self.marks, self.memo, self.frame_end)
        self.clear()
        self.nested = True
        result = self.run()
        self.nested = False
        self.stack, self.marks, self.memo, self.frame_end = outer
        if not isinstance(result, tuple) or shape != (len(result),):
            raise Refused("has an array of objects that is not one row of names")
        if not all(isinstance(item, str) for item in result):
            raise Refused("has an array of objects that is not one row of names")
        return result


_STOP: Final = ord(".")
_OPERATIONS: Final[dict[int, Callable[[_Machine], None]]] = {
    0x95: _Machine.frame,
    0x28: _Machine.mark,
    0x4E: lambda m: m.push(None),  # NONE
    0x88: lambda m: m.push(True),  # NEWTRUE
    0x89: lambda m: m.push(False),  # NEWFALSE
    0x4A: lambda m: m.push(m.number("<i")),  # BININT
    0x4B: lambda m: m.push(m.number("<B")),  # BININT1
    0x4D: lambda m: m.push(m.number("<H")),  # BININT2
    0x8A: _Machine.integer,  # LONG1
    0x47: _Machine.real,  # BINFLOAT
    0x8C: lambda m: m.text("<B"),  # SHORT_BINUNICODE
    0x58: lambda m: m.text("<I"),  # BINUNICODE
    0x8D: lambda m: m.text("<Q"),  # BINUNICODE8
    0x43: lambda m: m.blob("<B"),  # SHORT_BINBYTES
    0x42: lambda m: m.blob("<I"),  # BINBYTES
    0x8E: lambda m: m.blob("<Q"),  # BINBYTES8
    0x96: lambda m: m.blob("<Q"),  # BYTEARRAY8
    0x29: lambda m: m.push(()),  # EMPTY_TUPLE
    0x85: lambda m: m.some(1),  # TUPLE1
    0x86: lambda m: m.some(2),  # TUPLE2
    0x87: lambda m: m.some(3),  # TUPLE3
    0x74: lambda m: m.push(tuple(m.pop_mark())),  # TUPLE
    0x5D: lambda m: m.push([]),  # EMPTY_LIST
    0x61: lambda m: m.extend([m.pop()]),  # APPEND
    0x65: lambda m: m.extend(m.pop_mark()),  # APPENDS
    0x7D: lambda m: m.push({}),  # EMPTY_DICT
    0x73: lambda m: m.update([m.pop(), m.pop()][::-1]),  # SETITEM
    0x75: lambda m: m.update(m.pop_mark()),  # SETITEMS
    0x94: lambda m: m.remember(len(m.memo)),  # MEMOIZE
    0x71: lambda m: m.remember(m.number("<B")),  # BINPUT
    0x72: lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
    0x68: lambda m: m.recall(m.number("<B")),  # BINGET
    0x6A: lambda m: m.recall(m.number("<I")),  # LONG_BINGET
    0x63: _Machine.name_inline,  # GLOBAL
    0x93: _Machine.name_on_stack,  # STACK_GLOBAL
    0x52: _Machine.reduce,
    0x81: _Machine.new,  # NEWOBJ
    0x62: _Machine.build,
}
#: The other opcodes, for the message only.
# fmt: off
_REFUSED_NAMES: Final = {
    0x30: "POP", 0x31: "POP_MARK", 0x32: "DUP", 0x46: "FLOAT", 0x49: "INT", 0x4C: "LONG",
    0x50: "PERSID", 0x51: "BINPERSID", 0x53: "STRING", 0x54: "BINSTRING", 0x55: "SHORT_BINSTRING",
    0x56: "UNICODE", 0x64: "DICT", 0x67: "GET", 0x69: "INST", 0x6C: "LIST", 0x6F: "OBJ",
    0x70: "PUT", 0x80: "PROTO", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x8B: "LONG4",
    0x8F: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX",
    0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}
# fmt: on
