"""The audit of one stream, against every account that a venue's history may give of its bars."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bar, Bars, Interval, Stream
from candled.core.decision import BarRevised
from candled.ports import Act, Hazard, Incident, Resume
from candled_adapters.exchanges.dialect import Rows
from candled_adapters.feeds.audit import Audit, agree
from candled_adapters.feeds.backlog import Nature, Patience
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.pushed import Moment
from candled_adapters.feeds.stats import SourceStats

INTERVAL = Interval("1h")
START = 1_700_000_000_000 // HOUR * HOUR
PATIENCE = Patience(audit_reach=6)
NAN = math.nan


def bar(slot: int, close: float = 100.0) -> Bar:
    t = START + slot * HOUR
    return Bar(t, 100.0, 120.0, 90.0, close, 5.0, t + HOUR - 1, 500.0, 7.0, 2.0, 200.0)


def moment(local_s: float, slot: float = 50.0) -> Moment:
    return Moment(local_s, int(START + slot * HOUR), 1)


def rows(*bars: Bar, closed: int | None = None) -> Rows:
    return Rows(Bars.of(bars), closed)


def audit_of(*bars: Bar, patience: Patience = PATIENCE) -> Audit:
    audit = Audit(INTERVAL, 100, patience, None)
    for one in bars:
        audit.out(one, moment(0.0))
    return audit


def test_history_is_asked_some_seconds_after_a_bar_went_out():
    """Not before; for everything that is remembered and one row more; once."""
    audit = audit_of(bar(1), bar(2))
    assert audit.question(moment(4.9, 3.1)) is None
    read = audit.question(moment(5.0, 3.1))
    assert read is not None
    assert read.start_ms == START + HOUR
    assert read.limit == 5
    assert audit.question(moment(9.0, 3.1)) is None


def test_the_newest_bars_of_a_history_are_compared_too():
    """They may have been read a moment before the venue's numbers were final."""
    audit = Audit(INTERVAL, 100, PATIENCE, None)
    audit.began(Bars.of([bar(slot) for slot in range(1, 20)]))
    audit.out(bar(20), moment(0.0))
    read = audit.question(moment(5.0, 21.1))
    assert read is not None
    assert read.start_ms == bar(20 - PATIENCE.audit_reach).open_time
    shown = rows(*(bar(slot) for slot in range(14, 19)), bar(19, close=101.0), bar(20), bar(21))
    assert audit.take(shown, moment(5.0)).revised == ()
    assert audit.take(shown, moment(6.0)).revised == (bar(19, close=101.0),)


def test_a_difference_is_believed_when_two_answers_in_a_row_show_it():
    """The first is a doubt, asked again after a moment; the second settles it."""
    audit = audit_of(bar(1), bar(2))
    other = bar(2, close=101.0)
    assert audit.take(rows(bar(1), other, bar(3)), moment(5.0)).revised == ()
    assert audit.due_s == 5.0 + PATIENCE.confirm_s
    assert audit.take(rows(bar(1), other, bar(3)), moment(6.0)).revised == (other,)
    assert audit.known(other.open_time) == other
    assert audit.take(rows(bar(1), other, bar(3)), moment(7.0)).revised == ()


def test_answers_that_differ_among_themselves_settle_nothing():
    """Three answers, three accounts: the bar stays what went out."""
    audit = audit_of(bar(1))
    for close in (101.0, 102.0, 101.0, 100.0, 101.0):
        assert audit.take(rows(bar(1, close), bar(2)), moment(5.0)).revised == ()
    assert audit.known(START + HOUR) == bar(1)


def test_the_newest_row_of_an_answer_proves_nothing():
    """It may be a bar that the venue's history has not finished."""
    audit = audit_of(bar(1), bar(2))
    half = bar(2, close=99.0)
    for _ in range(3):
        assert audit.take(rows(bar(1), half), moment(5.0)).revised == ()
        assert audit.take(rows(bar(1), half, bar(3), closed=1), moment(5.0)).revised == ()


def test_columns_that_history_lacks_are_no_difference_and_stay():
    """NaN says nothing; a revision keeps what only the push told."""
    audit = audit_of(bar(1))
    poor = replace(bar(1), trades=NAN, quote_volume=NAN)
    assert agree(bar(1), poor)
    other = replace(poor, close=101.0)
    audit.take(rows(other, bar(2)), moment(5.0))
    assert audit.take(rows(other, bar(2)), moment(6.0)).revised == (bar(1, close=101.0),)


def test_a_bar_that_history_lacks_is_told_once():
    """With rows on both sides, in two answers; told again only after it was there again."""
    audit = audit_of(bar(1), bar(2), bar(3))
    lacking, whole = rows(bar(1), bar(3), bar(4)), rows(bar(1), bar(2), bar(3), bar(4))
    told = [audit.take(answer, moment(5.0)).vanished for answer in (lacking,) * 4]
    assert told == [(), (START + 2 * HOUR,), (), ()]
    assert audit.take(whole, moment(5.0)).vanished == ()
    told = [audit.take(lacking, moment(5.0)).vanished for _ in range(3)]
    assert told == [(), (START + 2 * HOUR,), ()]


def test_a_bar_that_was_passed_over_and_is_there_after_all_is_told_once():
    """Two answers in a row; not one, not of what lies before or after what went out."""
    audit = audit_of(bar(2), bar(4), bar(5))
    lacking = rows(bar(1), bar(2), bar(4), bar(5), bar(6))
    whole = rows(*map(bar, range(1, 8)))
    told = [audit.take(answer, moment(5.0)).appeared for answer in (whole, lacking, whole)]
    assert told == [(), (), ()]
    told = [audit.take(whole, moment(5.0)).appeared for _ in range(3)]
    assert told == [(START + 3 * HOUR,), (), ()]
    audit.begin_anew()
    audit.out(bar(40), moment(6.0))
    assert audit.take(rows(*map(bar, range(1, 42))), moment(7.0)).appeared == ()


def test_a_row_that_is_no_sane_bar_is_not_believed():
    """One that breaks a rule, and one in other units, however often they are shown."""
    for bad in (replace(bar(1), low=-1.0), replace(bar(1), volume=5000.0, taker_buy_base=2000.0)):
        audit = audit_of(bar(1))
        for _ in range(3):
            found = audit.take(rows(bad, bar(2)), moment(5.0))
            assert found.revised == ()
            assert len(found.refused) == 1


def test_an_audit_that_is_off_asks_nothing_and_remembers_little():
    """With no reach there is no question, whatever is suspected."""
    audit = audit_of(*map(bar, range(50)), patience=Patience(audit_reach=0))
    audit.suspect(moment(1.0))
    assert audit.question(moment(1e9)) is None
    assert audit.known(START) is None
    assert audit.known(START + 49 * HOUR) == bar(49)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # bars that close before this answer
            st.dictionaries(st.integers(0, 12), st.sampled_from([99.0, 100.0, 101.0]), max_size=4),
            st.frozensets(st.integers(0, 12), max_size=2),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_what_history_holds_to_is_what_is_remembered(story):
    """After two equal answers at the end, every remembered bar is history's; each change is told.

    Whatever it said before, in whatever order: the told revisions, applied in order to what went
    out, give what is remembered.
    """
    audit, told, out = Audit(INTERVAL, 100, PATIENCE, None), {}, 0
    accounts = [*story, (0, *story[-1][1:])]
    for closes, others, missing in accounts:
        for slot in range(out, out + closes):
            audit.out(bar(slot), moment(0.0))
            told[START + slot * HOUR] = bar(slot)
        out += closes
        shown = [bar(slot, others.get(slot, 100.0)) for slot in range(out) if slot not in missing]
        found = audit.take(rows(*shown, bar(out)), moment(5.0))
        told |= {one.open_time: one for one in found.revised}
    _, others, missing = accounts[-1]
    kept = range(max(0, out - PATIENCE.audit_reach), out)
    for slot in kept:
        at = START + slot * HOUR
        assert audit.known(at) == told[at]
        if slot not in missing:
            assert told[at] == bar(slot, others.get(slot, 100.0))


def test_a_machine_tells_a_revision_with_its_bar():
    """An incident and the bar, when it went out before a restart too; and asks when in doubt."""
    stream, stats = Stream("sim", "BTCUSDT", "1h"), SourceStats()
    resume = Resume(stream, 0, START + 3 * HOUR, recent=Bars.of([bar(2), bar(3)]))
    machine = Continuity(resume, Nature(100), stats, PATIENCE)
    machine.connected(moment(0.0, 4.5))
    assert machine.begin(moment(0.0, 4.5), None)
    machine.answer(machine.read(int(START + 4.5 * HOUR)), rows(bar(2), bar(3), bar(4)), moment(0.0))
    machine.push(bar(4), moment(1.0, 5.0))
    events = machine.push(bar(4, close=101.0), moment(2.0, 5.0))
    assert [(e.hazard, e.act) for e in events if isinstance(e, Incident)] == [
        (Hazard.CHANGED_CLOSE, Act.DROP)
    ]
    assert machine.audit.question(moment(2.0, 5.0)) is not None
    other = bar(3, close=99.0)
    machine.audited(rows(bar(2), other, bar(4), bar(5)), moment(2.1))
    incident, revised = machine.audited(rows(bar(2), other, bar(4), bar(5)), moment(3.1))
    assert isinstance(incident, Incident)
    assert (incident.hazard, incident.act, incident.bar_open) == (
        Hazard.REVISED_BAR,
        Act.REVISE,
        other.open_time,
    )
    assert isinstance(revised, BarRevised)
    assert revised.bar == other
    assert stats.revised == 1


def test_a_machine_tells_a_bar_that_appeared():
    """It cannot be decided any more in its turn; people must know that history has it."""
    stream = Stream("sim", "BTCUSDT", "1h")
    resume = Resume(stream, 0, START + 5 * HOUR, recent=Bars.of([bar(2), bar(3), bar(5)]))
    machine = Continuity(resume, Nature(100), SourceStats(), PATIENCE)
    answer = rows(*map(bar, range(2, 7)))
    told = [event for _ in range(3) for event in machine.audited(answer, moment(3.0))]
    assert [(event.hazard, event.act, event.bar_open) for event in told] == [
        (Hazard.APPEARED_BAR, Act.FLAG, START + 4 * HOUR)
    ]


def test_a_machine_that_must_not_correct_only_tells():
    """FLAG instead of REVISE, once, and no bar."""
    stream = Stream("sim", "BTCUSDT", "1h")
    patience = replace(PATIENCE, audit_corrects=False)
    resume = Resume(stream, 0, START + 3 * HOUR, recent=Bars.of([bar(2), bar(3)]))
    machine = Continuity(resume, Nature(100), SourceStats(), patience)
    answer = rows(bar(2), bar(3, close=99.0), bar(4), bar(5))
    told = [event for _ in range(4) for event in machine.audited(answer, moment(3.0))]
    assert [(event.hazard, event.act) for event in told] == [(Hazard.REVISED_BAR, Act.FLAG)]
