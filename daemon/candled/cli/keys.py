"""Commands about the keys that messages and bundles are signed with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import KeyFileOption


def make(
    *, out: Annotated[Path, typer.Option(help="Where the private key goes.", metavar="FILE")]
) -> None:
    """Make a private key that only you can read, and print its public one."""
    from candled_adapters.protocol.signing import make_key

    signer = make_key(out)
    typer.echo(f"{out}: private key {signer.id}\n{signer.public_key}")


def show(*, key_file: KeyFileOption) -> None:
    """Print the public key of a private one: what others trust it by."""
    from candled_adapters.protocol.signing import Signer

    typer.echo(Signer.from_file(key_file).public_key)
