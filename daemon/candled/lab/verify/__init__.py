"""The proof that features, regimes and a model are causal and the same everywhere.

`verify` compares, to the last bit, what must be equal: tables before and after another future, live
rows and batch rows, short and long histories, one answer and the next. A difference is a finding
that names the column. `gate` is the same on seeded candles of every kind, for a user's own feature
set before it may go live. Knows the core; no frames, no files.
"""

from candled.lab.verify.facts import Check, Finding, Verification, VerificationError
from candled.lab.verify.leaks import find_leaks, refuse_denied_columns
from candled.lab.verify.run import CHECKS, gate, verify

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Verification",
    "VerificationError",
    "find_leaks",
    "gate",
    "refuse_denied_columns",
    "verify",
]
