"""What a bar must not be at the door: one that breaks a rule, or that speaks of other units. Pure.

A venue that changes what a number counts (a contract for a coin, a thousand for one), or a symbol
that comes to mean something else, shows in a bar that is sane by itself. It shows against the bar
before: a price, or the value of one unit of volume, that is another by a large factor.
"""

from __future__ import annotations

from candled.core.bar import Bar, Interval, Rule, broken_rule, iso


def complaint(open_time: int, rule: Rule) -> str:
    """Say which rule a bar breaks."""
    return f"the bar of {iso(open_time)} breaks a rule: {rule.field} {rule.demand}"


def jump(before: Bar, bar: Bar, factor: float) -> str:
    """Say what is more than `factor` times as large or small as in the bar before; '' if nothing.

    The value of a unit is quote volume / (volume * close): 1 where volume is in coins, the size of
    a contract where it is in contracts; unknown where one of them is zero or absent (NaN).
    """
    for name, old, new in (
        ("price", before.close, bar.close),
        ("unit of volume", _unit(before), _unit(bar)),
    ):
        if old > 0 and new > 0 and not old / factor <= new <= old * factor:
            return (
                f"the {name} of the bar of {iso(bar.open_time)} is {new / old:g} times the one "
                f"before ({old:g}, now {new:g}): other units, or another asset? "
                "If it is right, raise max_jump of its exchange"
            )
    return ""


def complaint_of(bar: Bar, interval: Interval, before: Bar | None, factor: float) -> str:
    """Say why a bar must not pass after `before` (None: the first one); '' when it may."""
    rule = broken_rule(bar, interval)
    if rule is not None:
        return complaint(bar.open_time, rule)
    return "" if before is None else jump(before, bar, factor)


def _unit(bar: Bar) -> float:
    return bar.quote_volume / (bar.volume * bar.close) if bar.volume > 0 else 0.0
