"""The figures of a run as one table, for the terminal and for the page in docs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from candled.ports import Entry
from chaos.diary import Line
from chaos.faults import Fault, Storm
from chaos.verdict import Told, Verdict, judge, percentile, recovery_s
from chaos.world import World, signals_of

_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    candled: str
    naive: str = ""
    wanted: str = ""


@dataclass(slots=True)
class Figures:
    """All rows of a run, section by section."""

    sections: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, title: str, rows: list[Row]) -> None:
        self.sections.setdefault(title, []).extend(rows)

    def table(self) -> str:
        """Return the table as Markdown with even columns, as it also reads on a terminal."""
        cells = [("", "candled", "naive", "demanded")]
        for title, rows in self.sections.items():
            cells.append((f"**{title}**", "", "", ""))
            cells += [(row.what, row.candled, row.naive, row.wanted) for row in rows]
        widths = [max(len(line[at]) for line in cells) for at in range(4)]
        lines = [_line(line, widths) for line in cells]
        return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])

    def write(self, page: Path) -> None:
        """Put the table in its place in a page."""
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(_BEGIN)
        _, _, after = rest.partition(_END)
        page.write_text(f"{before}{_BEGIN}\n{self.table()}\n{_END}{after}", encoding="utf-8")


def _line(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    return "| " + " | ".join(map(str.ljust, cells, widths)) + " |"


def kills_of(faults: list[Fault]) -> list[Row]:
    """Count the faults by what they were."""
    counts = Counter((fault.victim, fault.kind) for fault in faults)
    names = {"kill": "kill -9", "stop": "SIGTERM", "freeze": "SIGSTOP"}
    return [
        Row(f"{names[kind]} of the {victim}", str(count))
        for (victim, kind), count in sorted(counts.items())
    ]


def verdict_rows(mine: Verdict, naive: Verdict) -> list[Row]:
    return [
        Row("signals decided", str(mine.owed), str(naive.owed)),
        Row("lost", str(len(mine.lost)), str(len(naive.lost)), "0"),
        Row("told twice", str(mine.doubled), str(naive.doubled), "0"),
        Row("acted upon out of order", str(mine.disordered), str(naive.disordered), "0"),
        Row("told after a later one, for the record only", str(mine.belated)),
        Row("acted upon", str(mine.acted)),
        Row("acted upon past its time", str(mine.acted_late), "", "0"),
    ]


def naive_verdict(world: World, kept: list[Entry]) -> tuple[Verdict, int]:
    """Judge the naive pair over the stretch that the daemon decided.

    Returns also how many of the lost it had handed to `publish`.
    """
    opens = [e.decision.bar_open for e in kept]
    table = signals_of(world.stage)
    owed = [
        f"{symbol}-{opened}"
        for symbol, sides in table.items()
        for opened in sides
        if min(opens) <= opened <= max(opens)
    ]
    told = [_naive_told(line) for line in world.diary("naive-bot", "signal")]
    verdict = judge(owed, [one for one in told if one.place <= max(opens)])
    published = {line["id"] for line in world.diary("naive", "decided")}
    return verdict, len(published & set(verdict.lost))


def _naive_told(line: Line) -> Told:
    return Told(line["id"], line["symbol"], line["bar"], line["at_ns"], acted=True)


def received_ns(kept: list[Entry]) -> dict[str, int]:
    """Return when the bar of each signal was received, by the signal's id."""
    return {e.decision.id: e.received_ns for e in kept if e.seq is not None}


def recoveries(
    faults: list[Fault], received: Mapping[str, int], told: Sequence[Told]
) -> list[float]:
    """Return how long each fault of the broker took to heal where no other one came between (s)."""
    told_ns = {one.id: one.at_ns for one in reversed(told)}
    found = []
    for fault in faults:
        took = recovery_s(fault.ended_ns, received, told_ns)
        if fault.victim == "broker" and took is not None and _alone(fault, took, faults):
            found.append(took)
    return found


def _alone(fault: Fault, took_s: float, faults: list[Fault]) -> bool:
    """Whether no other fault was there between this one's beginning and its recovery."""
    healed = fault.ended_ns + int(took_s * 1e9)
    return not any(
        other is not fault and other.began_ns < healed and other.ended_ns > fault.began_ns
        for other in faults
    )


def recovery_row(took: list[float], wanted: str = "") -> Row:
    figures = ", ".join(f"{name} {percentile(took, at):.2f}" for name, at in
                        (("p50", 50), ("p99", 99), ("max", 100)))  # fmt: skip
    return Row(f"recovery after the broker's return, undisturbed ({len(took)} times), s",
               figures, "", wanted)  # fmt: skip


def add_storm(figures: Figures, storm: Storm, kept: list[Entry], mine: Verdict) -> None:
    """Add the figures of a storm of kills."""
    naive, handed = naive_verdict(storm.world, kept)
    rows = kills_of(storm.faults) + verdict_rows(mine, naive)
    rows.append(Row("of the lost, handed to publish()", "", str(handed)))
    rows.append(recovery_row(recoveries(storm.faults, received_ns(kept), storm.world.told())))
    figures.add("kills at any moment", rows)
