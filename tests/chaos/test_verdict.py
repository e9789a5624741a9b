"""The judge is judged: every kind of fault is found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.diary import Diary, read
from chaos.faults import Fault, blows
from chaos.figures import Figures, Row, recoveries
from chaos.verdict import Told, judge, recovery_s

IDS = [f"s{number}" for number in range(20)]
ALL = [Told(id_, "a" if at % 2 else "b", at, at) for at, id_ in enumerate(IDS)]
SECOND = 10**9


def test_who_was_told_everything_once_in_order_is_faultless():
    """Streams may be mixed in any way."""
    shuffled = sorted(ALL, key=lambda one: (one.stream, one.place))
    assert judge(IDS, ALL).faultless
    assert judge(IDS, shuffled).faultless
    assert judge(IDS, ALL).told == 20


@given(st.sets(st.sampled_from(IDS)), st.lists(st.sampled_from(ALL), max_size=5))
def test_losses_and_repetitions_are_counted_exactly(lost: set[str], again: list[Told]):
    """Whatever is missing is named, and whatever came again is counted, each by itself."""
    told = [one for one in ALL if one.id not in lost]
    again = [one for one in again if one.id not in lost]
    verdict = judge(IDS, [*told, *again])
    assert set(verdict.lost) == lost
    assert (verdict.doubled, verdict.disordered) == (len(again), 0)
    assert verdict.faultless == (not lost and not again)


@pytest.mark.parametrize(
    ("told", "disordered"),
    [([0, 2, 1], 1), ([2, 0, 1], 2), ([0, 1, 2], 0), ([1, 2, 0], 1)],
)
def test_what_comes_after_something_later_is_out_of_order(told: list[int], disordered: int):
    """Each one that comes too late is counted."""
    mine = [Told(IDS[at], "a", at, at, acted=True) for at in told]
    verdict = judge(IDS[:3], mine)
    assert (verdict.disordered, verdict.belated) == (disordered, 0)
    assert verdict.faultless == (disordered == 0)
    record = judge(IDS[:3], [replace(one, acted=False) for one in mine])
    assert (record.disordered, record.belated) == (0, disordered)
    assert record.faultless


def test_what_was_never_owed_and_what_was_acted_on_late_are_faults():
    """A signal that nobody decided, or an entry past its time, is worse than a loss."""
    assert judge(IDS[:-1], ALL).strange == ("s19",)
    late = Told("s0", "b", 0, 0, acted=True, late=True)
    assert judge(IDS, [late, *ALL[1:]]).acted_late == 1
    assert not judge(IDS, [late, *ALL[1:]]).faultless
    assert not judge(IDS[:-1], ALL).faultless


def test_a_recovery_counts_what_had_been_decided_before_the_fault_ended():
    """It ends when the last of these is told; what is decided later does not count."""
    received = {"early": 1 * SECOND, "late": 4 * SECOND, "after": 6 * SECOND}
    told = {"early": 1 * SECOND, "late": 7 * SECOND, "after": 60 * SECOND}
    assert recovery_s(5 * SECOND, received, told) == 2.0
    assert recovery_s(2 * SECOND, received, told) == 0.0
    assert recovery_s(5 * SECOND, received, {"early": SECOND, "after": SECOND}) is None


def test_a_recovery_that_another_fault_disturbed_is_left_out():
    """Only the broker's faults count, and only where nothing else was wrong meanwhile."""

    def fault(victim: str, began: float, ended: float) -> Fault:
        return Fault(victim, "kill", int(began * SECOND), int(ended * SECOND))

    told = [Told("x", "a", 1, 12 * SECOND)]
    kept = {"x": 9 * SECOND}
    assert recoveries([fault("broker", 8, 10)], kept, told) == [2.0]
    assert recoveries([fault("daemon", 8, 10)], kept, told) == []
    assert recoveries([fault("broker", 8, 10), fault("bot", 11, 11.5)], kept, told) == []
    assert recoveries([fault("broker", 8, 10), fault("bot", 7, 8.5)], kept, told) == []
    assert recoveries([fault("broker", 8, 10), fault("bot", 13, 14)], kept, told) == [2.0]


def test_a_torn_line_never_happened(tmp_path: Path):
    """Cut anywhere, a diary holds the whole lines before the cut, and goes on after them."""
    path = tmp_path / "diary"
    diary = Diary(path)
    for number in range(5):
        diary.write({"number": number, "text": "x" * number})
    data = path.read_bytes()
    for cut in (*range(0, len(data), 7), len(data)):
        path.write_bytes(data[:cut])
        whole = data[:cut].count(b"\n")
        assert [line["number"] for line in read(path)] == list(range(whole))
        again = Diary(path)
        again.write({"number": whole})
        assert [line["number"] for line in read(path)] == list(range(whole + 1))
        assert len(again.lines) == whole


def test_a_seed_says_when_whom_and_how_often():
    """The same seed gives the same blows, as many of each as asked for, some of them in haste."""
    plan = blows(3, daemon=30, broker=20, bot=5)
    assert plan == blows(3, daemon=30, broker=20, bot=5) != blows(4, daemon=30, broker=20, bot=5)
    kills = [blow.victim for blow in plan if not blow.proper]
    assert (kills.count("daemon"), kills.count("broker"), kills.count("bot")) == (30, 20, 5)
    assert [blow.victim for blow in plan if blow.proper] == ["broker"] * 2
    assert any(blow.wait_s < 0.3 for blow in plan)
    assert any(blow.wait_s > 1.0 for blow in plan)


def test_a_page_keeps_its_words_and_gets_a_new_table(tmp_path: Path):
    """Only what stands between the marks is replaced, again and again."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n")
    figures = Figures()
    figures.add("kills", [Row("lost", "0", "17", "0")])
    for _ in range(2):
        figures.write(page)
        text = page.read_text()
        assert text.startswith("before\n<!-- figures -->\n|")
        assert text.endswith("|\n<!-- end of figures -->\nafter\n")
        assert "old" not in text
        assert text.count("| lost") == 1
