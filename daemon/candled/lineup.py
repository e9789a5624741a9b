"""Who decides the streams: bundles, policies and what speaks against them. Part of the composition.

From a configuration to lanes, behind the gate that the start, a reload and `check` share. Opens
bundles and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from candled.config import Config, ConfigError, PolicyConfig, StreamConfig
from candled.core.bar import Stream
from candled.core.decision import Policy
from candled.core.gates import missing_means
from candled.core.lane import Lane, Lineup
from candled.core.model import Model
from candled.window import page_problems
from candled_adapters.artifacts.bundle import Bundle, BundleError, load_bundle
from candled_adapters.exchanges.registry import Venue, interval_problem, live_venue
from candled_adapters.protocol.signing import SigningError, Verifier

_MEANS = {
    "abstain": "abstain limits",
    "novelty_max": "training ranges",
    "max_age_days": "end of its training data",
}


def load_lanes(config: Config, source: Path) -> list[Lane]:
    """Load the bundles and give each stream its model and policy; see `load_lineup`."""
    return list(load_lineup(config, source).champions)


def load_lineup(config: Config, source: Path) -> Lineup:
    """Load the bundles and give each stream its model and policy, and its challenger's.

    Raises ConfigError with every bundle and stream that does not fit.
    """
    problems = venue_problems(config) + page_problems(config)
    bundles = _load_bundles(config, problems)
    champions: list[Lane] = []
    challengers: list[Lane] = []
    for index, part in enumerate(config.streams):
        where = f"streams.{index}"
        told = _Told(where, f"{where}.policy")
        deciding = _lanes(told, part, config.policy, bundles, problems)
        champions += deciding
        if part.challenger is not None:
            own = part.challenger_policy is not None
            told = replace(told, policy=f"{where}.challenger_policy") if own else told
            beside = _lanes(told, _challenging(part), config.policy, bundles, problems)
            challengers += beside
            problems += _the_same(where, part, deciding, beside)
    if problems:
        raise ConfigError(source, list(dict.fromkeys(problems)))
    return Lineup(champions, challengers)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the keys of a part are called."""

    where: str
    policy: str


def _challenging(part: StreamConfig) -> StreamConfig:
    """Return the part as it would be with its challenger as the champion."""
    policy = part.policy if part.challenger_policy is None else part.challenger_policy
    return part.model_copy(update={"bundle": part.challenger, "policy": policy})


def _the_same(
    where: str, part: StreamConfig, champions: Sequence[Lane], challengers: Sequence[Lane]
) -> list[str]:
    """Tell of a challenger that could not but say what the champion says."""
    pairs = zip(champions[:1], challengers[:1], strict=False)
    return [
        f"{where}.challenger: {part.challenger} is the champion itself, with the same policy; "
        "name another bundle, or give it a challenger_policy"
        for one, other in pairs
        if (one.model.digest, one.policy.digest) == (other.model.digest, other.policy.digest)
    ]


def _lanes(
    told: _Told,
    part: StreamConfig,
    general: PolicyConfig,
    bundles: Mapping[Path, Bundle],
    problems: list[str],
) -> list[Lane]:
    bundle = bundles.get(part.bundle)
    if bundle is None:
        return []
    model, where = bundle.model, told.where
    if part.interval != model.interval:
        problems.append(
            f"{where}.interval: {part.interval}, but {part.bundle} was trained on "
            f"{model.interval} bars; use a bundle for {part.interval}"
        )
    strangers = [symbol for symbol in part.symbols if symbol != model.symbol]
    if strangers and not part.any_symbol:
        problems.append(
            f"{where}.symbols: {', '.join(strangers)}, but {part.bundle} was trained on "
            f"{model.symbol}; set any_symbol = true if that is meant"
        )
    policy = _policy(general, part.policy, bundle)
    problems += _unserved(told, part, model, policy)
    streams = [Stream(part.exchange, symbol, part.interval) for symbol in part.symbols]
    return [Lane(stream, model, policy) for stream in streams]


def venue_problems(config: Config) -> list[str]:
    """Return what the venues' documents say against dialects, symbols and intervals."""
    problems: list[str] = []
    venues: dict[str, Venue] = {}
    for name, exchange in config.exchanges.items():
        try:
            venues[name] = live_venue(exchange.dialect)
        except ValueError as error:
            problems.append(f"exchanges.{name}.dialect: {error}")
    for index, part in enumerate(config.streams):
        venue = venues.get(part.exchange)
        if venue is None:
            continue
        said = [(f"symbols.{at}", venue.symbol_problem(s)) for at, s in enumerate(part.symbols)]
        said.append(("interval", interval_problem(venue, part.interval)))
        problems += [f"streams.{index}.{key}: {problem}" for key, problem in said if problem]
    return problems


def _load_bundles(config: Config, problems: list[str]) -> dict[Path, Bundle]:
    bundles: dict[Path, Bundle] = {}
    try:
        keys = config.models.trusted_keys
        trusted = Verifier.trusting(keys) if keys else None
    except SigningError as error:
        problems.append(f"models.trusted_keys: {error}")
        return bundles
    named = [(part.bundle, part.challenger) for part in config.streams]
    for path in dict.fromkeys(path for pair in named for path in pair if path is not None):
        try:
            bundles[path] = load_bundle(path, trusted)
        except BundleError as error:
            problems.append(f"bundle {error}")
    return bundles


def _policy(general: PolicyConfig, own: PolicyConfig, bundle: Bundle) -> Policy:
    """Join a stream's settings, the general ones, the bundle's and the defaults, in this order."""
    settings = {
        "threshold": bundle.model.threshold,
        "regime": bundle.manifest.regime,
        **general.model_dump(exclude_none=True),
        **own.model_dump(exclude_none=True),
    }
    return Policy(**settings)


def _unserved(told: _Told, part: StreamConfig, model: Model, policy: Policy) -> list[str]:
    """Tell which gates ask for what the bundle does not hold, each by the key that asks."""
    return [
        f"{told.policy if getattr(part.policy, key) is not None else 'policy'}.{key}: "
        f"{part.bundle} holds no {_MEANS[key]}; name a bundle that does or remove the key"
        for key in missing_means(model, policy)
    ]
