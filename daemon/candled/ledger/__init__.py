"""The ledger: what became of each published signal, and whether models do what they claim.

A signal is resolved by the label rule of its own model once its horizon has passed, to the bit as
training labels that bar and as the backtest trades it. Outcomes are rows of the journal; what is
said of many of them follows from these rows alone, so that a restart changes nothing.

    claims   a claim put to the test after every outcome, without false alarms (pure)
    record   the rolling record of one model's signals of one stream (pure)
    book     one stream: which signals wait, for how many bars; its records (pure)
    words    what people are told (pure)
    ledger   follows the journal
"""

from candled.ledger.ledger import Ledger
from candled.ledger.record import TrackSettings

__all__ = ["Ledger", "TrackSettings"]
