"""`model import`, `check` and `show`: bundles made from the notebook's files, proved, described."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import msgspec

from candled.core.decision import Target
from candled.core.model import Model, ModelSpec, as_ubjson
from candled.core.text import visible
from candled_adapters.artifacts.bundle import Bundle, load_bundle, write_bundle
from candled_adapters.artifacts.notebook import read_notebook
from candled_adapters.artifacts.signature import write_signature
from candled_adapters.protocol.signing import Signer, Verifier


def import_model(
    directory: Path, out: Path, symbol: str | None, interval: str | None, threshold: float
) -> str:
    """Turn the notebook's three files into a bundle."""
    found = read_notebook(directory, symbol, interval)
    spec = ModelSpec(
        symbol=found.symbol,
        interval=found.interval,
        feature_set="mar",
        feature_names=found.feature_names,
        mean=found.mean,
        scale=found.scale,
        booster=as_ubjson(found.booster),
        threshold=threshold,
        target=Target(found.lookahead_bars, found.profit_target_pct, found.stop_loss_pct),
        regime="notebook",
        provenance={
            "imported_from": found.sources,
            "created_at": found.created_at,
            "train_samples": found.train_samples,
            "test_samples": found.test_samples,
            "candled": _version(),
        },
    )
    return summary(write_bundle(spec, out))


def check_model(path: Path, trusted_keys: Sequence[str] = ()) -> str:
    """Check a bundle, and with keys who signed it; BundleError when it must not be used."""
    bundle = load_bundle(path, Verifier.trusting(trusted_keys) if trusted_keys else None)
    ok = "digests, names, order and golden vectors agree"
    signed = ", and the signature is trusted" if trusted_keys else ""
    return f"{summary(bundle)}\nok: {ok}{signed}"


def sign_model(path: Path, key_file: Path) -> str:
    """Sign a bundle that passes every check; raises BundleError or SigningError."""
    signer = Signer.from_file(key_file)
    bundle = load_bundle(path)
    write_signature(path, bundle.manifest.digest, signer)
    return f"{summary(bundle)}\nsigned with key {signer.id}, public key {signer.public_key}"


def show_model(path: Path, *, as_json: bool) -> str:
    """Describe a bundle, for people or as JSON without the scaler and the parts' content."""
    bundle = load_bundle(path)
    card = model_card(bundle)
    if as_json:
        return json.dumps(card, indent=2)
    evidence, ranges, reference = (card.pop(key) for key in ("evidence", "ranges", "reference"))
    card["ranges"] = f"of {len(ranges)} features" if ranges else None
    card["reference"] = _reference_line(reference) if reference else None
    lines = [f"{key:14} {_plain(value)}" for key, value in card.items()]
    return "\n".join([*lines, *_evidence_table(evidence)])


def model_card(bundle: Bundle) -> dict[str, Any]:
    """Return what a bundle says of itself, as plain JSON values."""
    manifest, model = bundle.manifest, bundle.model
    return {
        "name": manifest.name,
        "digest": manifest.digest,
        "symbol": manifest.symbol,
        "interval": manifest.interval,
        "feature_set": manifest.feature_set,
        "features": len(manifest.features),
        "classes": manifest.classes,
        "threshold": manifest.threshold,
        "target": msgspec.to_builtins(manifest.target),
        "regime": manifest.regime,
        "parts": manifest.parts,
        "provenance": manifest.provenance,
        "abstain_limits": None if model.abstain_limits is None else model.abstain_limits.tolist(),
        "ranges": _ranges(model),
        "reference": _reference(model),
        "evidence": [asdict(band) for band in model.evidence],
    }


def summary(bundle: Bundle) -> str:
    """Say in a line what a bundle is."""
    manifest = bundle.manifest
    return (
        f"{bundle.path}: bundle {visible(manifest.name)}, {len(manifest.features)} features, "
        f"threshold {manifest.threshold}, digest {manifest.digest[:16]}"
    )


def _ranges(model: Model) -> dict[str, list[float]] | None:
    """Return [low, high] by feature."""
    if model.ranges is None:
        return None
    pairs = zip(model.ranges.low.tolist(), model.ranges.high.tolist(), strict=True)
    return {name: list(pair) for name, pair in zip(model.features.columns, pairs, strict=True)}


def _reference(model: Model) -> dict[str, Any] | None:
    """Return how many rows training was, and what is usual of later ones."""
    known = model.reference
    if known is None:
        return None
    rows = int(known.features.rows[0])
    return {"rows": rows, "usual": [asdict(one) for one in known.usual]}


def _reference_line(reference: Mapping[str, Any]) -> str:
    lengths = ", ".join(str(one["rows"]) for one in reference["usual"])
    known = f"what is usual for stretches of {lengths} rows" if lengths else "nothing is usual yet"
    return f"of {reference['rows']} rows; {known}"


_COLUMNS: Final = ("side", "probability", "n", "coverage", "precision", "95 %", "base", "gross %")


def _evidence_table(bands: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lay out what out-of-sample rows showed, one line for each band."""
    if not bands:
        return [f"{'evidence':14} None"]
    rows = [_COLUMNS, *map(_evidence_row, bands)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return ["evidence (out of sample, by the side's probability)", *(f"  {x}" for x in lines)]


def _evidence_row(band: Mapping[str, Any]) -> tuple[str, ...]:
    below, gross = band["below"], band["gross_pct"]
    return (
        band["side"],
        f"{band['above']:.4g} and more" if below is None else f"{band['above']:.4g} to {below:.4g}",
        str(band["n"]),
        f"{band['coverage']:.2%}",
        f"{band['precision']:.3f}",
        f"{band['low']:.3f} to {band['high']:.3f}",
        f"{band['base_rate']:.3f}",
        "-" if gross is None else f"{gross:+.3f}",
    )


def _plain(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value) if isinstance(value, dict | list) else visible(str(value))


def _version() -> str:
    try:
        return version("candled")
    except PackageNotFoundError:
        return "unknown"
