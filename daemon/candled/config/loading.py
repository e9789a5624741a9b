"""config.toml -> validated settings. Every problem at once, each with its key and the mend.

Nothing but that file is opened, connected or loaded here. Paths in it are relative to its folder.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from candled.config.tables import Config, StreamConfig, WebhookConfig
from candled.config.values import is_credential

_MOST_BYTES: Final = 4 * 2**20


class ConfigError(Exception):
    """A configuration that cannot be used; the text lists every problem."""

    def __init__(self, source: Path, problems: list[str]) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source}: {len(problems)} problem(s)\n{lines}")
        self.problems = problems


def load_config(path: Path) -> Config:
    """Read and validate the file; raises ConfigError with every problem."""
    try:
        content = tomllib.loads(_text_of(path))
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, [f"is not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [f"is not valid TOML: {error}"]) from error
    except RecursionError:
        raise ConfigError(path, ["is nested too deeply; no configuration needs that"]) from None
    problems = _misfits(content) + _lone_policies(content)
    problems += _strange_pairs(content) + _unsignable(content)
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        problems = [_problem(dict(item)) for item in error.errors()] + problems
    if problems:
        raise ConfigError(path, problems)
    return _rooted(config, path.resolve().parent)


def digest(config: Config) -> str:
    """Return what a daemon says of its configuration: the SHA-256 of all settings."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def _text_of(path: Path) -> str:
    """Read the file; what is no configuration could be endless, as a device is."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ConfigError(path, [f"is larger than {_MOST_BYTES} bytes; that is no configuration"])
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def _misfits(content: dict[str, Any]) -> list[str]:
    """Find streams that do not fit the rest; whatever has the wrong shape is told elsewhere."""
    exchanges, streams = content.get("exchanges"), content.get("streams")
    problems: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    for index, part in enumerate(streams if isinstance(streams, list) else ()):
        if not isinstance(part, dict):
            continue
        exchange, symbols = part.get("exchange"), part.get("symbols")
        if isinstance(exchange, str) and isinstance(exchanges, dict) and exchange not in exchanges:
            problems.append(
                f"streams.{index}.exchange: {exchange!r} is not among the exchanges "
                f"({', '.join(exchanges)}); add [exchanges.{exchange}]"
            )
        for symbol in symbols if isinstance(symbols, list) else ():
            key = (str(exchange), str(symbol), str(part.get("interval")))
            if key in seen:
                problems.append(
                    f"streams.{index}.symbols: {'/'.join(key)} is listed twice; remove one"
                )
            seen.add(key)
    return problems


def _lone_policies(content: dict[str, Any]) -> list[str]:
    streams = content.get("streams")
    return [
        f"streams.{index}.challenger_policy: there is no challenger; name its bundle or remove it"
        for index, part in enumerate(streams if isinstance(streams, list) else ())
        if isinstance(part, dict) and "challenger_policy" in part and "challenger" not in part
    ]


def _strange_pairs(content: dict[str, Any]) -> list[str]:
    """Find pairs of no stream, and two streams that one controller would hear."""
    part = content.get("hummingbot")
    pairs = part.get("pairs") if isinstance(part, dict) else None
    if not isinstance(pairs, dict):
        return []
    known, problems, streams = set(_stream_paths(content)), [], dict[str, str]()
    for stream, pair in pairs.items():
        where = f"hummingbot.pairs.{stream}"
        if stream not in known:
            near = difflib.get_close_matches(stream, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "name it exchange/symbol/interval"
            problems.append(f"{where}: there is no such stream; {hint}")
        other = streams.setdefault(str(pair).lower(), stream)
        if other != stream:
            problems.append(f"{where}: {pair} is already told of {other}; remove one")
    return problems


def _unsignable(content: dict[str, Any]) -> list[str]:
    part = content.get("mqtt")
    if isinstance(part, dict) and "signing_key_file" in part and part.get("protocol") == "3.1.1":
        return ["mqtt.protocol: MQTT 3.1.1 carries no signatures; remove it or signing_key_file"]
    return []


def _stream_paths(content: dict[str, Any]) -> Iterator[str]:
    streams = content.get("streams")
    for part in streams if isinstance(streams, list) else ():
        symbols = part.get("symbols") if isinstance(part, dict) else None
        for symbol in symbols if isinstance(symbols, list) else ():
            yield f"{part.get('exchange')}/{symbol}/{part.get('interval')}"


def _problem(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_did_you_mean(error['loc'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{where}: is required"
    found = "" if isinstance(error["input"], dict | list) else f" (found {error['input']!r})"
    return f"{where}: {message}{found}" if where else message


def _did_you_mean(location: tuple[str | int, ...]) -> str:
    """Suggest the known key nearest to an unknown one."""
    known = list(_model_at(location[:-1]).model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _model_at(location: tuple[str | int, ...]) -> type[BaseModel]:
    """Find the model that validates the table at `location`."""
    model: type[BaseModel] = Config
    for part in location:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


_PATHS: Final = {
    "state": ("path",),
    "mqtt": ("password_file", "ca_file", "cert_file", "key_file", "signing_key_file"),
    "alerts": ("urls_file",),
}
_WEBHOOK_PATHS: Final = ("url_file", "hmac_key_file", "password_file", "ca_file")


def rooted(folder: Path, path: Path) -> Path:
    """Return where `path`, as a file in `folder` spells it, is; a credential stays what it is."""
    return path if is_credential(path) else folder / path


def _rooted(config: Config, folder: Path) -> Config:
    """Make the file's paths absolute, from its own folder."""
    updates: dict[str, Any] = {}
    for name, keys in _PATHS.items():
        part = getattr(config, name)
        values = {key: rooted(folder, value) for key in keys if (value := getattr(part, key))}
        updates[name] = part.model_copy(update=values)
    updates["webhooks"] = [_rooted_webhook(part, folder) for part in config.webhooks]
    updates["streams"] = [_rooted_stream(part, folder) for part in config.streams]
    if config.log.decisions not in ("", "-"):
        file = str(folder / config.log.decisions)
        updates["log"] = config.log.model_copy(update={"decisions": file})
    return config.model_copy(update=updates)


def _rooted_stream(part: StreamConfig, folder: Path) -> StreamConfig:
    updates = {"bundle": folder / part.bundle}
    if part.challenger is not None:
        updates["challenger"] = folder / part.challenger
    return part.model_copy(update=updates)


def _rooted_webhook(part: WebhookConfig, folder: Path) -> WebhookConfig:
    updates: dict[str, Any] = {
        key: rooted(folder, value) for key in _WEBHOOK_PATHS if (value := getattr(part, key))
    }
    for key in ("headers", "secrets"):
        files = getattr(part, key)
        updates[key] = {name: rooted(folder, value) for name, value in files.items()}
    return part.model_copy(update=updates)
