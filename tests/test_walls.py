"""The core is pure: its modules import numpy, ctypes, arithmetic, and each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import candled.core

CORE = Path(candled.core.__file__).parent
MODULES = sorted(CORE.rglob("*.py"))

ALLOWED = {
    "__future__",
    "collections",
    "ctypes",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "itertools",
    "importlib.util",
    "json",
    "math",
    "numpy",
    "typing",
}
#: What only some may have: the model looks for XGBoost's library in the file system.
ALLOWED_THERE = {("model.py", "os")}
#: Calls that would bring in the world through a door that is allowed.
FORBIDDEN_CALLS = {"now", "utcnow", "today", "open", "getenv", "import_module", "__import__"}


def imports(tree: ast.AST) -> set[str]:
    """Return the modules that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found.add(str(node.module))
    return found


def calls(tree: ast.AST) -> set[str]:
    """Return the last names of what a module calls."""
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {node.id for node in called if isinstance(node, ast.Name)}
    return names | {node.attr for node in called if isinstance(node, ast.Attribute)}


def is_allowed(name: str, file: Path) -> bool:
    if (file.name, name) in ALLOWED_THERE:
        return True
    if name.startswith("candled."):
        return name.startswith("candled.core")
    parts = name.split(".")
    return any(".".join(parts[:length]) in ALLOWED for length in range(1, len(parts) + 1))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(CORE)))
def test_core_modules_import_nothing_of_the_world(file: Path):
    """No clock, file, socket, task or database can be reached from the core."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert {name for name in imports(tree) if not is_allowed(name, file)} == set()
    assert calls(tree) & FORBIDDEN_CALLS == set()


def test_the_wall_is_one():
    """The rule is seen to refuse what it must, and looks at every module of the core."""
    bad = ast.parse("import time\nfrom os import path\nimport candled.journal\nimport importlib")
    assert not any(is_allowed(name, CORE / "engine.py") for name in imports(bad))
    assert calls(ast.parse("datetime.now(tz)\nopen(x)")) == {"now", "open"}
    assert {"engine.py", "decision.py", "mar.py", "model.py"} <= {file.name for file in MODULES}
