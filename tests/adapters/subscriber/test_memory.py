"""What a consumer keeps on disk, and what its process finds there after any kind of end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.subscriber.world import signal
from candled_adapters.subscriber.memory import Kept, Memory, MemoryFileError
from candled_adapters.subscriber.numbers import Numbers

ONE, TWO, THREE = signal(1), signal(2), signal(3)
STREAMS = {"x/BTC/1m": Numbers("e1", 3, False, [(1, 1)], {}, {"a": 3}, 1, {"e0": (9, [(2, 4)])})}


def test_what_was_kept_is_found_again(tmp_path):
    """Numbers, holes, ids and earlier epochs come back, and what was not handed over."""
    memory = Memory(tmp_path / "bot.state")
    assert memory.load() == Kept({}, ())
    memory.begin({}, [])
    memory.tell({"x/ETH/1m": Numbers("e1", 1)}, [ONE, TWO])
    memory.hand_over(ONE.id, durable=False)
    memory.tell(STREAMS, [THREE])
    memory.hand_over(TWO.id, durable=True)
    kept = Kept({"x/ETH/1m": Numbers("e1", 1), **STREAMS}, (THREE,))
    assert Memory(tmp_path / "bot.state").load() == kept
    memory.begin(kept.streams, kept.pending)
    memory.close()
    assert memory.load() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["bot.state"]


def test_a_file_that_has_grown_long_is_to_be_tidied(tmp_path):
    """It says so, and afterwards it is short again."""
    memory = Memory(tmp_path / "bot.state")
    memory.begin(STREAMS, [])
    while not memory.is_long:
        memory.tell(STREAMS, [ONE] * 100)
    memory.begin(STREAMS, [ONE])
    assert not memory.is_long
    assert (tmp_path / "bot.state").stat().st_size < 2_000
    memory.close()


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 2_000), junk=st.sampled_from([b"", b"\0" * 9, b"{"]))
def test_a_torn_end_forgets_only_itself(tmp_path_factory, cut, junk):
    """A crash amid a line leaves what stands before it, whatever the disk puts there instead."""
    path = tmp_path_factory.mktemp("memory") / "bot.state"
    memory = Memory(path)
    memory.begin(STREAMS, [ONE])
    begun = path.stat().st_size
    memory.tell({}, [TWO])
    told = path.stat().st_size
    memory.hand_over(ONE.id, durable=True)
    memory.close()
    whole = path.read_bytes()
    end = max(begun, len(whole) - cut)
    path.write_bytes(whole[:end] + junk)
    loaded = memory.load()
    assert loaded.streams == STREAMS
    if not junk:
        first = () if end >= len(whole) - 1 else (ONE,)
        assert loaded.pending == (*first, TWO) if end >= told - 1 else (ONE,)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\n", b"[" * 100_000, b'{"schema":"x"}'])
def test_a_file_that_is_no_memory_is_refused(tmp_path, content):
    """The error names the file and the mend; nothing is overwritten."""
    path = tmp_path / "bot.state"
    path.write_bytes(content)
    with pytest.raises(MemoryFileError, match=r"bot\.state: not a consumer's memory; move it"):
        Memory(path).load()
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """Writing says which file cannot be written, and why."""
    with pytest.raises(MemoryFileError, match=r"away/bot\.state: cannot be written: No such file"):
        Memory(tmp_path / "away" / "bot.state").begin({}, [])
