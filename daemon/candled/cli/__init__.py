"""The commands. Each reads its arguments, calls one function and prints; no logic lives here.

Everything heavy is imported inside the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import typer

from candled.cli import (
    candles,
    keys,
    learning,
    live,
    measuring,
    models,
    proof,
    records,
    search,
    system,
    watching,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="candle daemon: live candles in, the trained model's signals out.",
)
app.command()(live.run)
app.command()(live.check)
app.command()(live.reload)
app.command()(live.tail)
app.command()(records.outcomes)
app.command()(live.demo)
app.command()(live.simulate)
app.command()(candles.fetch)
app.command()(learning.features)
app.command()(learning.train)
app.command()(search.tune)
app.command()(learning.report)
app.command()(learning.predict)
app.command()(learning.backtest)
app.command()(proof.verify)
app.command()(watching.drift)

bench = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
bench.callback()(measuring.bench)
bench.command()(measuring.learning)
bench.command()(measuring.cadence)
app.add_typer(bench, name="bench")

model = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Model bundles.")
model.command("import")(models.import_notebook)
model.command()(models.check)
model.command()(models.show)
model.command()(models.sign)
app.add_typer(model, name="model")

secrets = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys to sign with.")
secrets.command()(keys.make)
secrets.command()(keys.show)
app.add_typer(secrets, name="keys")

files = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Candle files.")
files.command("import")(candles.import_files)
files.command()(candles.check)
app.add_typer(files, name="candles")

service = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="As a system service.")
service.callback()(lambda: None)
service.command()(system.install)
app.add_typer(service, name="systemd")
