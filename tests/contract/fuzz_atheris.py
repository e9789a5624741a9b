"""A longer search for frames that break a parser, led by coverage: ``fuzz_atheris.py [SECONDS]``.

The targets are those of `fuzz`; atheris keeps what reaches new code and breaks it further, half of
the time as `mutation` does and half in its own way. What it found is kept in build/fuzz/corpus, so
that the next run goes on from there; a frame that raises anything but `MalformedFrame`, or takes
longer than two seconds, ends the run and lies in build/fuzz. Not part of the tests: atheris is no
dependency, https://github.com/google/atheris.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

TESTS: Final = Path(__file__).parents[1]
FOLDER: Final = TESTS.parent / "build" / "fuzz"
_LONGEST: Final = 8_192  # bytes of a frame
_MISSING: Final = (
    "atheris is not installed; it is no dependency of candled and has wheels for Linux on x86-64: "
    "`{python} -m pip install atheris`, or `make fuzz` for the seeded run that needs nothing"
)
sys.path.insert(0, str(TESTS))


def main(seconds: int) -> int:
    """Search for so long; atheris itself ends the process, with a code above 0 for a finding."""
    try:
        import atheris  # noqa: PLC0415 - optional, and before what it instruments
    except ModuleNotFoundError:
        print(_MISSING.format(python=sys.executable), file=sys.stderr)  # noqa: T201 - it is a script
        return 2
    with atheris.instrument_imports(include=["candled_adapters", "candled.core.bar"]):
        from contract.cases import CASES  # noqa: PLC0415
        from contract.fuzz import targets  # noqa: PLC0415
    todo = [target for case in CASES for target in targets(case)]
    corpus = FOLDER / "corpus"
    sow(corpus, [sources for _, _, sources in todo])
    options = [
        f"-max_total_time={seconds}", f"-max_len={_LONGEST}", "-timeout=2", "-print_final_stats=1",
        f"-artifact_prefix={FOLDER}/", str(corpus),
    ]  # fmt: skip
    atheris.Setup(
        [sys.argv[0], *options],
        one_input(todo),
        custom_mutator=mutator(atheris),
    )
    atheris.Fuzz()
    return 0


def sow(corpus: Path, sources: list[list[bytes]]) -> None:
    """Put every valid frame into the corpus, with the number of its target before it."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, frames in enumerate(sources):
        for index, frame in enumerate(frames):
            (corpus / f"valid-{number}-{index}").write_bytes(bytes([number]) + frame)


def one_input(
    todo: list[tuple[str, Callable[[bytes], object], list[bytes]]],
) -> Callable[[bytes], None]:
    """Return what feeds one input, a target's number and a frame, to its parser."""
    from candled_adapters.exchanges.dialect import MalformedFrame  # noqa: PLC0415 - instrumented

    def feed(data: bytes) -> None:
        if data:
            with contextlib.suppress(MalformedFrame):
                todo[data[0] % len(todo)][1](data[1:])

    return feed


def mutator(atheris: ModuleType) -> Callable[[bytes, int, int], bytes]:
    """Return what changes an input: by an accident of ours, or in atheris' own way."""
    from contract.mutation import mutated  # noqa: PLC0415 - its path is known now

    def change(data: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if len(data) > 1 and draw.random() < 0.5:
            return (data[:1] + mutated(data[1:], draw))[:longest]
        return atheris.Mutate(data, longest)  # which is another one once the run has begun

    return change


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
