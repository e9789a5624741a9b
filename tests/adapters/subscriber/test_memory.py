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
    memory.begin(STREAMS, [ONE, TWO, THREE])
    memory.hand_over(ONE.id)
    memory.hand_over(TWO.id)
    assert Memory(tmp_path / "bot.state").load() == Kept(STREAMS, (THREE,))
    memory.begin(STREAMS, [])
    assert memory.load() == Kept(STREAMS, ())


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 40))
def test_a_torn_last_line_forgets_only_itself(tmp_path_factory, cut):
    """A crash amid a line leaves what stands before it."""
    path = tmp_path_factory.mktemp("memory") / "bot.state"
    memory = Memory(path)
    memory.begin(STREAMS, [ONE, TWO])
    memory.hand_over(ONE.id)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - min(cut, len(ONE.id) + 1)])
    assert memory.load() == Kept(STREAMS, (TWO,) if cut <= 1 else (ONE, TWO))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\n", b"[" * 100_000, b'{"schema":"x"}'])
def test_a_file_that_is_no_memory_is_refused(tmp_path, content):
    """The error names the file and the mend; nothing is overwritten."""
    path = tmp_path / "bot.state"
    path.write_bytes(content)
    with pytest.raises(MemoryFileError, match=r"bot\.state: not a consumer's memory .* move it"):
        Memory(path).load()
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """Writing says which file cannot be written, and why."""
    with pytest.raises(MemoryFileError, match=r"away/bot\.state: cannot be written: No such file"):
        Memory(tmp_path / "away" / "bot.state").begin({}, [])
