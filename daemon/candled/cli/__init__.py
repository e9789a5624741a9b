"""The commands. Each reads its arguments, calls one function and prints; no logic lives here.

Everything heavy is imported inside the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import typer

from candled.cli import (
    candles,
    contest,
    keys,
    learning,
    live,
    looking,
    measuring,
    models,
    proof,
    records,
    search,
    system,
    watching,
)
from candled.cli.options import VersionOption
from candled.cli.panels import LEARN, LOOK, MODELS, PROVE, RUN, Panels

app = typer.Typer(
    cls=Panels,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 well, 2 wrong usage, 65 data, 70 broken invariant, 75 try again later, "
    "78 configuration; commands with further ones say so in their help.",
)


@app.callback()
def main(*, version: VersionOption = False) -> None:
    """candle daemon: live candles in, the trained model's signals out."""  # noqa: D403


app.command(rich_help_panel=RUN)(live.run)
app.command(rich_help_panel=RUN)(live.check)
app.command(rich_help_panel=RUN)(live.reload)
app.command(rich_help_panel=RUN)(live.demo)
app.command(rich_help_panel=RUN)(live.simulate)
app.command(rich_help_panel=LOOK)(looking.status)
app.command(rich_help_panel=LOOK)(looking.log)
app.command(rich_help_panel=LOOK)(looking.tail)
app.command(rich_help_panel=LOOK)(records.outcomes)
app.command(rich_help_panel=LOOK)(watching.drift)
app.command(rich_help_panel=LEARN)(candles.fetch)
app.command(rich_help_panel=LEARN)(learning.features)
app.command(rich_help_panel=LEARN)(learning.train)
app.command(rich_help_panel=LEARN)(search.tune)
app.command(rich_help_panel=LEARN)(learning.report)
app.command(rich_help_panel=LEARN)(learning.predict)
app.command(rich_help_panel=LEARN)(learning.backtest)
app.command(rich_help_panel=PROVE)(proof.verify)
app.command(rich_help_panel=PROVE)(proof.replay)
app.command(rich_help_panel=MODELS)(contest.challenge)
app.command(rich_help_panel=MODELS)(contest.promote)

bench = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
bench.callback()(measuring.bench)
bench.command()(measuring.learning)
bench.command()(measuring.cadence)
app.add_typer(bench, name="bench", rich_help_panel=PROVE)

model = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Model bundles.")
model.command("import")(models.import_notebook)
model.command()(models.check)
model.command()(models.show)
model.command()(models.sign)
app.add_typer(model, name="model", rich_help_panel=MODELS)

secrets = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys to sign with.")
secrets.command()(keys.make)
secrets.command()(keys.show)
app.add_typer(secrets, name="keys", rich_help_panel=MODELS)

files = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Candle files.")
files.command("import")(candles.import_files)
files.command()(candles.check)
app.add_typer(files, name="candles", rich_help_panel=LEARN)

service = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="As a system service.")
service.callback()(lambda: None)
service.command()(system.install)
app.add_typer(service, name="systemd", rich_help_panel=RUN)
