"""Bodies of the admin API."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from config.brands import NAME
from server.api.schemas.common import Body

KnowledgeBaseName = Annotated[str, Field(pattern=f"^(?:{NAME.pattern})$")]
GroupName = KnowledgeBaseName
ShortName = Annotated[str, Field(min_length=1, max_length=200)]
Address = Annotated[str, Field(min_length=1, max_length=2_000)]
Patterns = Annotated[tuple[ShortName, ...], Field(max_length=1_000)]


class IngestBody(Body):
    """One source: path (on the server's machine, a file or a folder), urls (of pages), or sitemap (its address).

    include, exclude: patterns as in a .gitignore file, for a folder, in addition to those of the settings.
    """

    path: Path | None = None
    urls: Annotated[tuple[Address, ...], Field(max_length=100_000)] = ()
    sitemap: Address | None = None
    knowledge_base: KnowledgeBaseName
    include: Patterns = ()
    exclude: Patterns = ()
    dry_run: bool = False


class QuarantineBody(Body):
    """path: of an indexed document. note: why, for whoever asks later."""

    knowledge_base: KnowledgeBaseName = "company"
    path: Annotated[str, Field(min_length=1, max_length=4_096)]
    note: Annotated[str, Field(max_length=500)] = ""


class RebuildBody(Body):
    """questions: a JSONL file on the server's machine, in place of index.questions."""

    questions: Path | None = None
    accept_worse: bool = False


class RollbackBody(Body):
    """number: None for the generation that was live before."""

    number: Annotated[int, Field(gt=0)] | None = None


class PruneBody(Body):
    """keep: None for index.keep."""

    keep: Annotated[int, Field(ge=0)] | None = None


class VerifyBody(Body):
    repair: bool = False


class BackupBody(Body):
    """path: on the server's machine; None for a dated file in the data directory's backups/."""

    path: Path | None = None


class AdapterBody(Body):
    """path: a GGUF LoRA on the server's machine; it is copied. card: how it was trained, kept beside it. rows: the
    example files it was trained and validated on, kept for training it again.
    """

    brand: KnowledgeBaseName
    path: Path
    card: dict[str, Any] | None = None
    rows: Annotated[tuple[Path, ...], Field(max_length=2)] = ()
    activate: bool = False


class StageBody(Body):
    """As to register an adapter, for a base that is not served yet. base: its GGUF file on the server's machine."""

    brand: KnowledgeBaseName
    path: Path
    base: Path
    card: dict[str, Any] | None = None
    rows: Annotated[tuple[Path, ...], Field(max_length=2)] = ()


class ActivateBody(Body):
    """version: like "halden@2". Or brand alone, to go back to the base."""

    version: ShortName | None = None
    brand: ShortName | None = None


class ScoresBody(Body):
    """As `adapters.evaluation.scores` writes them."""

    scores: dict[str, Any]


class RollBackAdapterBody(Body):
    brand: ShortName


class CanaryBody(Body):
    """version: like "halden@2". share: of the conversations. keys: names of keys that always get it."""

    version: ShortName
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    keys: Annotated[tuple[ShortName, ...], Field(max_length=1_000)] = ()


class RetireBody(Body):
    """delete_file: once no running answer can need it."""

    version: ShortName
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    delete_file: bool = False


class KeyBody(Body):
    name: ShortName
    role: Literal["admin", "reader"] = "reader"
    brands: Annotated[tuple[ShortName, ...], Field(max_length=1_000)] = ()
    groups: Annotated[tuple[GroupName, ...], Field(max_length=1_000)] = ()


class GroupsBody(Body):
    groups: Annotated[tuple[GroupName, ...], Field(min_length=1, max_length=1_000)]
