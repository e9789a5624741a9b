"""The page on feature sets says what the sets are."""

from __future__ import annotations

import re
from pathlib import Path

from candled.core.features import built_in_sets
from candled.core.features.mar import COLUMNS, PERIODS, TYPES
from candled.core.features.scalefree import MEANINGS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "feature-sets.md").read_text()


def rows(section: str) -> dict[str, str]:
    """Return a section's table of columns as column -> meaning."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(.+?)` \| (.+?) \|$", text, flags=re.MULTILINE))


def test_the_columns_of_mar_are_all_there():
    """The patterns of the table, written out, are the 220 columns and no others."""
    written = [
        pattern.format(p=p, t=t)
        for pattern in rows("mar")
        for t in (TYPES if "{t}" in pattern else ("",))
        for p in (PERIODS if "{p}" in pattern else ("",))
    ]
    assert sorted(written) == sorted(COLUMNS)


def test_the_columns_of_the_scale_free_set_are_the_definitions_own():
    """Each column and its meaning stand in the page as they stand beside the code, in order."""
    assert list(rows("mar-scalefree").items()) == list(MEANINGS.items())


def test_sizes_are_told_right():
    """The overview has every built-in set with its columns, window and history."""
    for name, one in built_in_sets().items():
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` | "))
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert int(cells[1]) == len(one.columns)
        numbers = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", cells[3])]
        assert numbers == [one.window, one.history]
