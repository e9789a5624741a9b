"""The lab for a person at a notebook: data frames in and out, and the files that the lab has not.

Its names are offered by the package `candled` itself; see docs/lab.md. Nothing is computed here:
candles come in through the reader's checks, go through the very functions that the commands call,
and come out as frames. Nothing in the house imports this room.
"""

from candled.offline.threads import quiet_threads

quiet_threads()  # before any module here imports XGBoost
