"""What every run of the bench says of where it ran, and how it says how far it is."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

_LIBRARIES: Final = (
    "numpy", "pandas", "scikit-learn", "xgboost-cpu", "websockets", "aiomqtt", "msgspec",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Describe the machine and the libraries as plain JSON values."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # e.g. xgboost under its other name
        return "unknown"


def progress(text: str) -> None:
    """Say on standard error how far the bench is."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
