"""All brands on another base: each active version trained again from its kept rows and recipe, and compared.

Everything is made beside what is in use; nothing of that changes before somebody has seen the table and said yes. What
is made is kept until then, so that an interrupted upgrade goes on where it was.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from adapters.gguf_check import check_adapter
from adapters.identity import Identity, differences, identity_of
from adapters.kept_rows import kept_rows
from adapters.make import GGUF_FILE, TrainingInput, make_adapter
from adapters.registry import AdapterVersion, Registry, file_sha256
from adapters.training.progress import OnProgress
from adapters.training.recipe import Recipe
from config.brands import Brand
from config.datadir import DataDirectory
from config.errors import BadRequestError, HousevoiceError, NotFoundError
from config.fact_layout import FactLayout, layout_named
from config.files import write_atomically
from config.models import ModelFile
from config.settings import EngineSettings
from server.engine.messages import AdapterRef
from server.offline_scores import OpenedBase, Shares, opened_base, read_held_out
from server.proof import proof_prompts, prove

KEY_FILE, DONE_FILE = "key", "made.json"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is to be trained again, from what. notes: what will be other than before."""

    brand: Brand
    version: AdapterVersion
    given: TrainingInput
    recipe: Recipe
    notes: tuple[str, ...]

    def used_on(self, base: ModelFile) -> AdapterRef | None:
        """The version as it is in use, None on a base that it is not of."""
        version = self.version
        fits = version.base_sha256 == base.sha256
        return AdapterRef(version.name, version.path, version.sha256) if fits else None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A brand that is not upgraded, and why."""

    brand: str
    reason: str


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Made and checked, not registered. before is None where the old base is not there any more."""

    candidate: Candidate
    gguf: Path
    card: Mapping[str, object]
    before: Shares | None = None
    after: Shares | None = None

    @property
    def adapter(self) -> AdapterRef:
        return AdapterRef(self.candidate.brand.name, self.gguf, file_sha256(self.gguf))

    @property
    def rows(self) -> tuple[Path, ...]:
        given = self.candidate.given
        return (given.examples, *((given.validation,) if given.validation else ()))


def plan_upgrade(
    registry: Registry, data: DataDirectory, brands: Sequence[Brand], base: ModelFile
) -> tuple[list[Candidate], list[LeftOut]]:
    """One candidate for each brand whose active version does not fit `base`."""
    identity, candidates, left_out = identity_of(base), [], []
    for brand in brands:
        active = registry.active(brand.name)
        try:
            candidates.append(_candidate(brand, active, data, identity))
        except HousevoiceError as error:
            left_out.append(LeftOut(brand.name, str(error)))
    return candidates, left_out


def upgrade_folder(data: DataDirectory, base: ModelFile) -> Path:
    return data.root / "upgrade" / base.sha256[:16]


def remake(candidate: Candidate, base: ModelFile, folder: Path, on_progress: OnProgress) -> Upgraded:
    """Train, convert and check below folder/BRAND, or take what an earlier run made there of the same rows and recipe.

    Raises HousevoiceError.
    """
    work = folder / candidate.brand.name
    key = _key(candidate, base)
    card = _made_before(work, key, base)
    if card is None:
        _begin(work, key)
        made = make_adapter(base, candidate.given, candidate.recipe, work, on_progress)
        prompts = proof_prompts(base.path, candidate.given.instructions)
        proof = prove(base.path, made.gguf, made.training.adapter, prompts)
        card = {**made.card, "parent": candidate.version.name, "proof": asdict(proof)}
        write_atomically(work / DONE_FILE, json.dumps(card))
    return Upgraded(candidate, work / GGUF_FILE, card)


async def compare(
    upgraded: Sequence[Upgraded], old: ModelFile | None, new: ModelFile, settings: EngineSettings, num_rows: int
) -> list[Upgraded]:
    """With the shares of both sides on the same rows, as far as there are rows and the old base is there."""
    before: list[Shares | None] = [None] * len(upgraded)
    if old is not None:
        async with opened_base(old, settings) as opened:
            before = [
                await _ask(
                    opened, item.candidate, item.candidate.used_on(old), num_rows, item.candidate.version.fact_layout
                )
                for item in upgraded
            ]
    async with opened_base(new, settings) as opened:
        after = [
            await _ask(opened, item.candidate, item.adapter, num_rows, layout_named(item.card.get("fact_layout")))
            for item in upgraded
        ]
    return [
        dataclasses.replace(item, before=first, after=second)
        for item, first, second in zip(upgraded, before, after, strict=True)
    ]


async def _ask(
    opened: OpenedBase, candidate: Candidate, adapter: AdapterRef | None, num_rows: int, fact_layout: FactLayout
) -> Shares | None:
    if adapter is None or candidate.given.validation is None:
        return None
    rows = read_held_out(candidate.given.validation, candidate.brand, num_rows)
    return await opened.shares(candidate.brand, adapter, rows, fact_layout)


def _candidate(brand: Brand, active: AdapterVersion | None, data: DataDirectory, base: Identity) -> Candidate:
    """Raises HousevoiceError with the reason why there is nothing to train again."""
    if active is None:
        raise NotFoundError("It has no active version.")
    if not differences(active.identity, base):
        raise BadRequestError(f"{active.name} fits this base already.")
    if "examples_sha256" not in active.card:
        raise NotFoundError(
            f"{active.name} does not say what it was trained on.",
            hint=f"Train it: housevoice adapter train {brand.name} EXAMPLES.jsonl",
        )
    examples = kept_rows(data, active.card["examples_sha256"])
    held_out = active.card.get("validation_sha256")
    validation = kept_rows(data, held_out) if held_out else None
    recipe, notes = _recipe(active.card.get("recipe"))
    given = TrainingInput(brand.name, brand.system_prompt, examples, validation)
    return Candidate(brand, active, given, recipe, tuple(notes))


def _recipe(told: object) -> tuple[Recipe, list[str]]:
    """As the card tells it. What it went on from was of the other base, so training starts fresh."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    values = {name: value for name, value in told.items() if name in known} if isinstance(told, dict) else {}
    start = values.pop("start_from", "")
    values.pop("precision", None)  # it was measured for the other base
    if "target_modules" in values:
        values["target_modules"] = tuple(values["target_modules"])
    notes = [f"starts fresh: {Path(start).name} was of the other base"] if start else []
    return Recipe(**values), notes


def _key(candidate: Candidate, base: ModelFile) -> str:
    """Of everything that decides what training makes."""
    given = candidate.given
    told = {
        "base": dataclasses.asdict(identity_of(base)),
        "rows": [path.name for path in (given.examples, given.validation) if path],
        "instructions": given.instructions,
        "recipe": dataclasses.asdict(candidate.recipe),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _begin(work: Path, key: str) -> None:
    """What was begun of the same is gone on with (see `make_adapter`); what was begun of anything else goes."""
    if _begun(work) != key:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_atomically(work / KEY_FILE, key)


def _begun(work: Path) -> str:
    try:
        return (work / KEY_FILE).read_text(encoding="utf-8")
    except OSError:
        return ""


def _made_before(work: Path, key: str, base: ModelFile) -> dict[str, object] | None:
    """Its card, where it is whole and of the same rows, recipe and base."""
    try:
        card: dict[str, object] = json.loads((work / DONE_FILE).read_text(encoding="utf-8"))
        check_adapter(work / GGUF_FILE, base.path, base.sha256)
    except (OSError, ValueError, HousevoiceError):
        return None
    return card if _begun(work) == key else None
