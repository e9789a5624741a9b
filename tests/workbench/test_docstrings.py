"""What the docstrings of the Python API show happens, and every function has such an example."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys

import pytest

import candled

FUNCTIONS = [name for name in candled.__all__ if inspect.isfunction(getattr(candled, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_does_what_it_says(name, tmp_path, monkeypatch):
    """Every function has an example that a reader can type in, and it gives what is printed."""
    monkeypatch.chdir(tmp_path)
    function = getattr(candled, name)
    (found,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={"candled": candled})
    said: list[str] = []
    result = doctest.DocTestRunner().run(found, out=said.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(said)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_docstring_names_every_argument_and_every_error(name):
    """Nobody has to read the code to know what may be given and what can go wrong."""
    function = getattr(candled, name)
    told = inspect.getdoc(function)
    for argument in inspect.signature(function).parameters:
        assert f"    {argument}: " in told
    assert "Raises:" in told


def test_the_package_tells_its_names_and_no_others():
    """`dir()` has every public name; another is an AttributeError as of any module."""
    assert set(candled.__all__) <= set(dir(candled))
    assert sorted(candled.__all__) == candled.__all__
    assert set(candled._ROOM_OF) == set(candled.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        candled.trian  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    """The daemon imports `candled` too: no pandas, scikit-learn or xgboost comes with it."""
    code = (
        "import candled, sys; "
        "heavy = {'numpy', 'pandas', 'sklearn', 'xgboost', 'joblib', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)), candled.Recipe().folds)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.split() == ["[]", "11"]
