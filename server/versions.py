"""A version as the admin API and the command line show it, and what the brands' files say against changing it."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from adapters.evaluation.scores import read_scores
from adapters.registry import AdapterVersion, Registry
from adapters.rollout import Canary
from config.brands import Brand
from config.errors import BadRequestError


def version_row(version: AdapterVersion, registry: Registry, canary: Canary | None = None) -> dict[str, Any]:
    """canary: the brand's; it shows at its own version. mismatch: why it does not fit what is served, or empty.
    fact_layout: the fastest in which its sources may be read.
    """
    return {
        "name": version.name,
        "brand": version.brand,
        "version": version.version,
        "is_active": version.is_active,
        "sha256": version.sha256,
        "base_sha256": version.base_sha256,
        "prompt_version": version.prompt_version,
        "created_unix_seconds": version.created_unix_seconds,
        "card": dict(version.card),
        "fact_layout": version.fact_layout,
        "canary": asdict(canary) if canary and canary.version == version.version else None,
        "retired": asdict(version.retirement) if version.retirement else None,
        "mismatch": registry.mismatch(version),
        "scores": read_scores(version.path.parent),
    }


def state_of(row: dict[str, Any]) -> str:
    """In a few words, from a row as above."""
    if row["retired"]:
        gone = ", file deleted" if row["retired"]["file"] == "deleted" else ""
        return f"retired: {row['retired']['reason']}{gone}"
    states = ["active"] if row["is_active"] else []
    if canary := row["canary"]:
        keys = f"keys {', '.join(canary['keys'])}" if canary["keys"] else ""
        share = f"{canary['share']:.0%}" if canary["share"] or not keys else ""
        states.append(f"canary {' and '.join(filter(None, (share, keys)))}")
    return ", ".join([*states, "does not fit the base"] if row["mismatch"] else states)


def refuse_canary(brand: Brand | None) -> None:
    """Raises BadRequestError where the brand's file, not the registry, says which version answers."""
    if brand is not None and brand.adapter != "active":
        raise BadRequestError(
            f"The file of {brand.name} says adapter = {brand.adapter!r}, so a canary would never be asked.",
            "version",
            hint="Let it say adapter = 'active'.",
        )


def refuse_retirement(name: str, brands: Iterable[Brand]) -> None:
    """Raises BadRequestError where a brand's file pins this version."""
    for brand in brands:
        if brand.adapter == name:
            raise BadRequestError(
                f"The file of {brand.name} says adapter = {name!r}.", "version", hint="Change that file first."
            )
