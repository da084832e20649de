"""One version of a brand's adapter: what is known of it, and its folder on disk."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.identity import Identity
from adapters.rollout import Retirement
from config.errors import BadRequestError
from config.fact_layout import FactLayout, layout_named

ADAPTER_FILE, CARD_FILE = "adapter.gguf", "card.json"

Card = Mapping[str, object]
"""What is to be remembered about how an adapter was made; JSON values. Shown to people; all that is acted on is how it
was trained to read its sources (`fact_layout`)."""


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One immutable version. base_sha256: of what it was trained on, or else checked against; "" for neither known.

    retirement: None for one that may be used.
    """

    brand: str
    version: int
    path: Path
    sha256: str
    base_sha256: str
    prompt_version: int
    created_unix_seconds: int
    is_active: bool
    card: Card = field(default_factory=dict, hash=False)
    tokenizer_sha256: str = ""
    template_sha256: str = ""
    retirement: Retirement | None = None

    @property
    def name(self) -> str:
        return f"{self.brand}@{self.version}"

    @property
    def fact_layout(self) -> FactLayout:
        """The fastest in which its sources may be read: what its card says, "exact" where that says nothing."""
        return layout_named(self.card.get("fact_layout"))

    @property
    def identity(self) -> Identity:
        return Identity(self.base_sha256, self.tokenizer_sha256, self.template_sha256, self.prompt_version)


def retired(version: AdapterVersion, retirement: Retirement) -> BadRequestError:
    return BadRequestError(
        f"{version.name} was retired on {retirement.day}: {retirement.reason}",
        "version",
        "adapter_retired",
        "housevoice adapter list shows the versions that can be used.",
    )


def file_sha256(path: Path) -> str:
    """Raises BadRequestError where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadRequestError(f"The adapter {path} cannot be read ({error.strerror}).", "path") from error


def store(version: AdapterVersion, gguf: Path) -> None:
    """The folder appears whole. One without a row is left from a killed registration, and is replaced."""
    folder = version.path.parent
    partial = folder.with_name(f"{folder.name}.partial")
    for leftover in (partial, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copyfile(gguf, partial / ADAPTER_FILE)
    (partial / CARD_FILE).write_text(json.dumps(_card_file(version), indent=1), encoding="utf-8")
    _flush(partial / ADAPTER_FILE)
    partial.rename(folder)


def _card_file(version: AdapterVersion) -> dict[str, object]:
    return {
        **version.card,
        "name": version.name,
        "sha256": version.sha256,
        "base_sha256": version.base_sha256,
        "prompt_version": version.prompt_version,
        "created_unix_seconds": version.created_unix_seconds,
    }


def _flush(path: Path) -> None:
    """To the disk, because the row that follows says that the file is there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
