"""The example notebook runs from its first cell to its last, and is kept clean."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from ipykernel.kernelspec import write_kernel_spec

import candled

FILE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "mar_signals.ipynb"
NOTEBOOK = nbformat.read(FILE, as_version=4)


def run(folder: Path) -> nbformat.NotebookNode:
    """Run all cells with a kernel of this very interpreter, in which every warning is an error.

    In a process of its own: when that ends, however it does, the kernel ends too.
    """
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "env": {"PYTHONWARNINGS": "error"}}
    write_kernel_spec(folder / "share" / "kernels" / "here", overrides=spec)
    places = {name: folder / name for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if key != "CANDLES"},
        **{name: str(place) for name, place in places.items()},
        "JUPYTER_PATH": str(folder / "share"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    shutil.copy(FILE, folder / "example.ipynb")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from nbclient.cli import main; main()"),
            *("--kernel_name=here", "--timeout=200", "--inplace", "example.ipynb"),
        ],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return nbformat.read(folder / "example.ipynb", as_version=4)


def texts(notebook: nbformat.NotebookNode, stream: str) -> str:
    """Return what the cells printed."""
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    return "".join(one.text for one in outputs if one.get("name") == stream)


def test_the_notebook_runs_on_synthetic_candles(tmp_path):
    """Every cell runs without error or warning, and the verdict on noise is that it is noise."""
    done = run(tmp_path)
    assert texts(done, "stderr") == ""
    said = texts(done, "stdout")
    assert "synthetic candles, not market data" in said
    assert "the engine says the same" in said
    assert "skill" in said
    charts = [one for cell in done.cells for one in cell.get("outputs", ()) if _is_chart(one)]
    assert len(charts) == 3


def _is_chart(output: nbformat.NotebookNode) -> bool:
    return "application/vnd.plotly.v1+json" in output.get("data", {})


def test_the_eleven_sections_are_there_in_order():
    """Numbered headings, one to eleven, and text before every piece of code that begins one."""
    text = "\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE) == [
        str(number) for number in range(1, 12)
    ]


def test_the_notebook_is_kept_without_outputs():
    """What is in the repository is the source alone, in today's format, with stable ids."""
    nbformat.validate(NOTEBOOK)
    assert (NOTEBOOK.nbformat, NOTEBOOK.nbformat_minor) == (4, 5)
    assert [cell.id for cell in NOTEBOOK.cells] == [
        f"cell-{at:02d}" for at in range(len(NOTEBOOK.cells))
    ]
    for cell in NOTEBOOK.cells:
        assert not cell.metadata
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_only_public_names_are_used():
    """All that the notebook takes from the package is what the package offers."""
    code = "\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "code")
    used = set(re.findall(r"\bcandled\.(\w+)", code))
    assert used <= set(candled.__all__)
    assert len(used) > 8
