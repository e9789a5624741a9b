"""A search for a better recipe, which says how much of what it found is luck.

`tune` searches a `Space` with optuna (an optional extra) and keeps a journal of every trial. The
newest rows are seen by no trial; what the chosen recipe does there stands beside what it did in the
search. `tried_in` turns a journal into what a report needs to know. Knows the core and the lab.
"""

from candled.lab.tune.journal import Journal, Look, Search, Trial, read_journal
from candled.lab.tune.outcome import Tuning, tried_in
from candled.lab.tune.run import HOLDOUT, tune
from candled.lab.tune.space import (
    SEARCHABLE,
    Choice,
    Range,
    Space,
    TuningError,
    default_space,
    space_of,
)

__all__ = [
    "HOLDOUT",
    "SEARCHABLE",
    "Choice",
    "Journal",
    "Look",
    "Range",
    "Search",
    "Space",
    "Trial",
    "Tuning",
    "TuningError",
    "default_space",
    "read_journal",
    "space_of",
    "tried_in",
    "tune",
]
