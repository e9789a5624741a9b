"""A claim put to the test after every outcome: are signals right as often as claimed? Pure.

Whoever looks after each outcome for ever and alarms at the first that is unlikely enough alarms in
the end, however good the model: so this is a bet, not a table of tails. It starts with one coin and
bets on the signals being right less often than claimed, at odds that are fair if the claim holds.
The chance of ever making 1 / `alarm` coins out of one by fair bets is at most `alarm`, however
often one looks (Ville, 1939; https://en.wikipedia.org/wiki/Ville%27s_inequality).

The coin is laid out in parts. What a model does may change at any time, so half of it is bet from
the first signal on, and of the rest a part is kept for a bet from each later signal on. How much
worse it may be is not known either: each part is bet evenly on some `SHARES` of what is claimed.
"""

from __future__ import annotations

from typing import Final

#: How often signals are right, as shares of what is claimed, that is bet on.
SHARES: Final = (0.9, 0.75, 0.5, 0.25)
#: Outcomes that say something; fewer say too little to call a claim kept.
FEWEST: Final = 20
#: A claim of more is taken for this: no run of outcomes shows that nothing ever goes wrong.
_MOST: Final = 0.999


class ClaimTest:
    """One claim on trial; `alarm` is the chance that one that holds is ever called broken.

    Once broken it is so until the next `FEWEST` outcomes, or more, were right as often as claimed.
    Then it is put to the test anew, with another coin.
    """

    __slots__ = (
        "_alarm", "_capital", "_claimed", "_hits", "_rounds", "_since", "broken", "counted",
    )  # fmt: skip

    def __init__(self, alarm: float) -> None:
        self._alarm = alarm
        self.broken = False
        self.counted = 0
        """Outcomes taken so far."""
        self._rounds = 0
        self._capital = [0.0] * len(SHARES)
        self._since = self._hits = 0
        self._claimed = 0.0

    @property
    def few(self) -> bool:
        """Whether so few have been taken that a claim that is not broken is not kept either."""
        return self.counted < FEWEST

    def step(self, *, right: bool, claimed: float) -> bool:
        """Take the next outcome and the precision that was claimed (0 to 1); return `broken`.

        The claim must have been made before anything was known of the outcome, and with all
        outcomes known that are taken before.
        """
        self.counted += 1
        if self.broken:
            self._recover(right=right, claimed=claimed)
        elif self._bet(right=right, claimed=min(claimed, _MOST)) >= 1 / self._alarm:
            self.broken = True
            self._since = self._hits = 0
            self._claimed = 0.0
        return self.broken

    def _bet(self, *, right: bool, claimed: float) -> float:
        """Settle this round's bets; return all that is owned, in coins."""
        self._rounds += 1
        fresh = 1 / (self._rounds * (self._rounds + 1))  # 1/2, 1/6, 1/12 ... make one coin
        kept = 1 / (self._rounds + 1)
        for at, share in enumerate(SHARES):
            wins = share if right else (1 - share * claimed) / (1 - claimed)
            self._capital[at] = (self._capital[at] + fresh) * wins
        return kept + sum(self._capital) / len(SHARES)

    def _recover(self, *, right: bool, claimed: float) -> None:
        self._since += 1
        self._hits += right
        self._claimed += claimed
        if self._since >= FEWEST and self._hits >= self._claimed:
            self.broken = False
            self._rounds = 0
            self._capital = [0.0] * len(SHARES)
