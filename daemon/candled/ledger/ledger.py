"""The ledger: follows the journal, resolves signals whose horizon has passed, keeps the records.

A sink like any other, and it delays none: it works in slices of a few signals, each read, resolved
and made durable without a pause in between, and lets others go on after each. All that it knows it
finds in the journal again: a process that ends anywhere leaves no gap and no double.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final

import structlog

from candled.core.bar import Stream
from candled.core.decision import Target
from candled.core.track import Outcome, Track
from candled.journal import Journal, JournalUnavailableError
from candled.journal.outcomes import BEGINNING
from candled.ledger.book import Book, Pending, Who
from candled.ledger.record import Record, TrackSettings
from candled.ledger.words import broken_words, figures, mended_words
from candled.ports import Act, Clock, Entry, Hazard, HealthBoard, Incident, Outbox
from candled.telling import Tell

NAME: Final = "ledger"
_FOLLOWED: Final = 256  # entries followed until others go on
_SLICE: Final = 4  # signals resolved until others go on
_PAGE: Final = 64  # rows read until others go on
_RETRY_S: Final = 1.0
_BROKEN: Final = "broken"
_MENDED: Final = "as claimed"

log = structlog.get_logger("candled.ledger")


class Ledger:
    """The sink.

    `clock` finds an exchange's clock. `targets` are what the models in use foresee, by digest; they
    go before what a decision says, which may be of a version that did not name the rule.
    """

    name = NAME

    def __init__(
        self,
        journal: Journal,
        *,
        tell: Tell,
        clock: Callable[[str], Clock],
        settings: TrackSettings,
        targets: Mapping[str, Target | None],
    ) -> None:
        self._journal = journal
        self._tell = tell
        self._clock = clock
        self._settings = settings
        self._targets = targets
        self._books: dict[Stream, Book] = {}
        self._stale: dict[Stream, None] = {}  # to be taken up anew, in this order
        self._change = 0
        self._shadow = 0

    # --- what others ask

    def track(self, stream: Stream) -> Track | None:
        """Return the record of the model that decides a stream; None before its first decision."""
        book = self._books.get(stream)
        return book.track(book.champion) if book and book.champion else None

    def challenger_track(self, stream: Stream) -> Track | None:
        """Return the record of a stream's challenger; None without shadow signals of one."""
        book = self._books.get(stream)
        if book is None or book.challenger is None or book.challenger == book.champion:
            return None
        return book.track(book.challenger)

    def outcomes(self, stream: Stream, since_open_ms: int) -> list[Outcome]:
        """Return what became of the signals about a stream's bars from then on, oldest first.

        Those of challengers are among them; each has the id of its decision.
        """
        return self._journal.outcomes.since(stream, since_open_ms)

    # --- the sink

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Follow the journal for ever."""
        position = self._begin()
        while True:
            try:
                position = await self._catch_up(outbox, board, position)
            except JournalUnavailableError as error:
                board.report(NAME, str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                board.report(NAME, None)
                await self._journal.moved(position, self._change)

    def _begin(self) -> int:
        """Have all streams taken up; return the position from which they are followed."""
        self._change, _ = self._journal.changed_after(0)
        self._shadow = self._journal.outcomes.last_shadow()
        for entry in self._journal.latest():
            self._book(entry.decision.stream).follow(entry.decision)
        self._stale = dict.fromkeys(self._journal.streams())
        return self._journal.last_position

    async def _catch_up(self, outbox: Outbox, board: HealthBoard, position: int) -> int:
        """Do all there is to do; return the position up to which it is done."""
        self._note_changes()
        while self._stale or self._journal.last_position > position:
            for stream in list(self._stale):
                await self._take_up(stream, board)
                del self._stale[stream]
            position = await self._follow_some(outbox, board, position)
            self._note_changes()
        outbox.mark(NAME, position)
        return position

    def _note_changes(self) -> None:
        """Have streams taken up anew where bars have become others."""
        self._change, streams = self._journal.changed_after(self._change)
        self._stale |= dict.fromkeys(streams)

    # --- following

    async def _follow_some(self, outbox: Outbox, board: HealthBoard, position: int) -> int:
        entries = outbox.after(position, _FOLLOWED)
        due = [self._follow(entry) for entry in entries]
        self._follow_shadows()
        await self._resolve(dict.fromkeys(book for book in due if book), board)
        await asyncio.sleep(0)
        return entries[-1].position if entries else position

    def _follow(self, entry: Entry) -> Book | None:
        """Take note of an entry; return its stream's book if one of its signals may be due."""
        decision = entry.decision
        book = self._book(decision.stream)
        if book.champion not in (None, Who.of(decision)):
            self._stale[decision.stream] = None  # the record of another model is wanted
        book.follow(decision)
        if entry.seq is not None:
            self._await(book, entry)
        return book if book.may_be_due else None

    def _follow_shadows(self) -> None:
        while entries := self._journal.outcomes.shadows(self._shadow, _FOLLOWED):
            for entry in entries:
                book = self._book(entry.decision.stream)
                if book.challenger != Who.of(entry.decision):
                    self._stale[book.stream] = None
                self._await(book, entry, shadow=True)
            self._shadow = entries[-1].position

    def _await(self, book: Book, entry: Entry, *, shadow: bool = False) -> None:
        decision = entry.decision
        target = self._targets.get(decision.model_digest) or decision.target
        book.await_outcome(decision, target, shadow=shadow)

    def _correct(self, book: Book, waiting: Pending) -> None:
        """Note whether a signal has been taken back."""
        waiting.taken_back = not waiting.shadow and self._journal.outcomes.taken_back(
            book.stream, waiting.bar_open, waiting.revision, waiting.side.value
        )

    def _book(self, stream: Stream) -> Book:
        return self._books.setdefault(stream, Book(stream, self._settings))

    # --- resolving

    async def _resolve(self, books: Iterable[Book], board: HealthBoard | None) -> None:
        """Resolve what is due of streams, and with a `board` judge their models by it.

        A slice is read, resolved and stored without a pause, so that no bar can change meanwhile.
        """
        due = ((book, waiting) for book in books for waiting in book.due())
        while some := list(islice(due, _SLICE)):
            made = [(book, out) for book, waiting in some if (out := self._settled(book, waiting))]
            self._store(made)
            if board is not None:
                self._record(made, board)
            await asyncio.sleep(0)

    def _settled(self, book: Book, waiting: Pending) -> Outcome | None:
        self._correct(book, waiting)
        count = waiting.target.lookahead_bars + 1
        bars = self._journal.outcomes.ahead(book.stream, waiting.bar_open, count)
        return book.settle(waiting, bars)

    def _store(self, made: Sequence[tuple[Book, Outcome]]) -> None:
        if made:
            with self._found_again(*(book for book, _ in made)):
                self._journal.outcomes.put([outcome for _, outcome in made])

    def _record(self, made: Iterable[tuple[Book, Outcome]], board: HealthBoard) -> None:
        for book, outcome in made:
            if book.stream in self._stale or not book.add(outcome):
                self._stale[book.stream] = None  # its records are made anew
            else:
                self._judge(book, board)

    @contextmanager
    def _found_again(self, *books: Book) -> Iterator[None]:
        """Where the disk will not have it, have streams taken up anew with what was in hand."""
        try:
            yield
        except JournalUnavailableError:
            self._stale |= dict.fromkeys(book.stream for book in books)
            raise

    # --- taking up

    async def _take_up(self, stream: Stream, board: HealthBoard) -> None:
        """Bring a stream's book to what the journal says: signals without outcome, and records.

        All that waits is looked at once, whether or not it is due: it may have been taken back.
        """
        book = self._book(stream)
        book.forget_pending()
        await self._take_up_signals(book)
        await self._take_up_shadows(book)
        book.begin_records(await self._records(stream))
        self._judge(book, board)

    async def _take_up_signals(self, book: Book) -> None:
        seq = 0
        while entries := self._journal.outcomes.unresolved(book.stream, seq, _PAGE):
            for entry in entries:
                self._await(book, entry)
            seq = entries[-1].seq or 0
            await self._resolve([book], None)  # the records are read when all are there

    async def _take_up_shadows(self, book: Book) -> None:
        newest = self._journal.outcomes.newest_shadow(book.stream)
        book.challenger = Who.of(newest.decision) if newest else None
        position = 0
        read = self._journal.outcomes.unresolved_shadows
        while entries := read(book.stream, position, _PAGE):
            for entry in entries:
                self._await(book, entry, shadow=True)
            position = entries[-1].position
            await self._resolve([book], None)

    async def _records(self, stream: Stream) -> dict[Who, Record]:
        records: dict[Who, Record] = {}
        place = BEGINNING
        while outcomes := self._journal.outcomes.after(stream, place, _PAGE):
            for outcome in outcomes:
                records.setdefault(Who.of(outcome), Record(self._settings)).add(outcome)
            place = (outcomes[-1].bar_open, outcomes[-1].id)
            await asyncio.sleep(0)
        return records

    # --- telling

    def _judge(self, book: Book, board: HealthBoard) -> None:
        """Tell people when the model that decides a stream begins, or ceases, to fall short."""
        who = book.champion
        if who is None:
            return
        is_broken = book.is_broken(who)
        remark = figures(book.track(who)) if is_broken else None
        board.remark(f"track {book.stream.path}", remark)
        if (self._told(book, who) == _BROKEN) != is_broken:
            words = broken_words if is_broken else mended_words
            self._tell(self._incident(book.stream, words(book.track(who))))
            book.told[who] = _BROKEN if is_broken else _MENDED
            book.to_note.add(who)
        if who in book.to_note:
            with self._found_again(book):
                self._journal.outcomes.note_told(book.stream, *who, book.told[who])
            book.to_note.discard(who)

    def _told(self, book: Book, who: Who) -> str:
        """Return what people were last told of one's signals."""
        if who not in book.told:
            book.told[who] = self._journal.outcomes.told(book.stream, *who)
        return book.told[who]

    def _incident(self, stream: Stream, text: str) -> Incident:
        return Incident(
            exchange=stream.exchange,
            stream=stream,
            hazard=Hazard.CLAIM_BROKEN,
            act=Act.FLAG,
            text=text,
            venue_ms=self._clock(stream.exchange).now_ms(),
        )
