"""The demo: the whole main job on one machine, with nothing set up before.

A broker, a simulated exchange on loopback, a model trained on the spot, the daemon as a process of
its own with its live page, and a subscriber that counts what it gets. All candles are synthetic
unless a file is given. Nothing here is part of the live process.

    play       the stage, the whole run and its summary
    audience   who hears the signals
    child      the daemon as a process, and where to look meanwhile
"""

from candled.demo.child import DemoError
from candled.demo.play import DemoOptions, DemoSummary, run_demo

__all__ = ["DemoError", "DemoOptions", "DemoSummary", "run_demo"]
