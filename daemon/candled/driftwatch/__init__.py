"""The drift watch: whether what models are asked about still looks like what they were trained on.

    rings     the newest rows of the streams of one model, as numbers of bins, and their figures
    alarm     when figures are far from usual for long enough that people are told
    drifts    all streams: rows in, what is known of each, and who began or ceased to drift
    refill    the newest rows of a stream, computed anew from the journal's bars
    watch     the part of the service: fed by the engine, after the sinks have been woken

Training's side is in the bundle; the arithmetic is `candled.core.drift`. Nothing here decides.
"""

from candled.driftwatch.drifts import Drifts
from candled.driftwatch.refill import Refill, newest_rows
from candled.driftwatch.watch import DriftWatch

__all__ = ["DriftWatch", "Drifts", "Refill", "newest_rows"]
