"""`housevoice adapter`: examples with sources, training, versions, and the comparison with plain prompting."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from adapters.bring_in import bring_in
from adapters.evaluation.scores import read_scores
from adapters.make import TrainingInput, make_adapter
from adapters.registry import Card, Registry
from adapters.training.progress import EpochResult, Estimate, RefusalBalance, TrainingEvent
from adapters.training.progress import Progress as Step
from adapters.training.recipe import Recipe, read_recipe
from config.environment import prepare_environment
from config.errors import BadRequestError
from config.models import resolve_base
from config.settings import Settings
from server.cli.adapter_advise import advise_adapter
from server.cli.adapter_evaluate import evaluate_adapter, last_scores, promote_adapter
from server.cli.connection import brand_of, find_server, own_store
from server.cli.console import err, errors_for_people, note, out, plain, say
from server.cli.curate import curate_examples
from server.prepare import Preparer, read_pairs, write_rows
from server.reranking import open_reranker
from server.retrieval import Retriever

app = typer.Typer(
    no_args_is_help=True,
    help="A brand's voice: prepare examples, train, compare, activate. Facts are not trained; they are ingested.",
)
BrandName = Annotated[str, typer.Argument(help="The brand's name, as in its file.")]
MIN_ROWS = 50
SHOWN_ROWS = 10


@app.command()
def prepare(
    context: typer.Context,
    brand: BrandName,
    pairs: Annotated[Path, typer.Argument(help="JSONL of question and answer pairs; see docs/adapters.md.")],
    output: Annotated[Path, typer.Option("--out", help="Folder for train.jsonl, development.jsonl and heldout.jsonl.")],
    withhold: Annotated[float, typer.Option(help="Share of answerable rows repeated without their source.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of that choice.")] = 7,
) -> None:
    """Give each pair the sources that retrieval finds for it, so that training looks like serving.

    Needs the brand's documents ingested, and the server stopped (it reads the index itself).
    """
    settings: Settings = context.obj
    with errors_for_people(), own_store(settings, "adapter prepare") as store:
        chosen = brand_of(settings, brand)
        retriever = Retriever(store, settings.retrieval, open_reranker(settings))
        preparer = Preparer(store, retriever, chosen.knowledge_bases, chosen.refusal)
        train = preparer.prepare(read_pairs(pairs, "train"), force_gold=True)
        withheld = preparer.withhold(train, withhold, seed)
        write_rows(output / "train.jsonl", [*train, *withheld], chosen.system_prompt)
        splits = {"train": train}
        for split in ("development", "heldout"):
            splits[split] = preparer.prepare(read_pairs(pairs, split), force_gold=False)
            write_rows(output / f"{split}.jsonl", splits[split], chosen.system_prompt)
    for name, rows in splits.items():
        found = sum(row.is_gold_retrieved for row in rows)
        say(f"{name}: {len(rows)} rows, retrieval found the evidence of {found}")
    if preparer.unsupported:
        names = ", ".join(preparer.unsupported[:SHOWN_ROWS]) + (
            ", ..." if len(preparer.unsupported) > SHOWN_ROWS else ""
        )
        note(f"{len(preparer.unsupported)} pairs left out, as no retrieved source holds their facts: {plain(names)}")
        note('Ingest what they are about, or name it in the pair\'s "documents".')
    say(f"and {len(withheld)} train rows again without their source; written to {plain(output)}")


app.command(name="curate")(curate_examples)


@app.command()
def train(
    context: typer.Context,
    brand: BrandName,
    examples: Annotated[Path, typer.Argument(help="Chat-JSONL as OpenAI's fine-tuning takes it; `sources` optional.")],
    validation: Annotated[Path | None, typer.Option(help="Held-out chat-JSONL; the best epoch on it is kept.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file (TOML); needs only the keys that differ.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows.")] = None,
    rank: Annotated[int | None, typer.Option(help="LoRA rank.")] = None,
    output: Annotated[Path | None, typer.Option("--out", help="Keep checkpoints, recipe and adapter here.")] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Use the new version at once.")] = False,
) -> None:
    """Train a LoRA for a brand on the served base, convert it, check it, and register it as the next version.

    Fewer than 50 rows are refused; 100 to 500 good ones are the useful range. A running server goes on answering and
    picks the version up when it is activated.
    """
    settings: Settings = context.obj
    with errors_for_people():
        prepare_environment()
        chosen = brand_of(settings, brand)
        _check_size(examples)
        kept = output or Path(tempfile.mkdtemp(prefix=f"housevoice-{brand}-"))
        given = TrainingInput(brand, chosen.system_prompt, examples, validation)
        with _bar() as bar:
            made = make_adapter(resolve_base(settings), given, _recipe(recipe, epochs, rank), kept, _Teller(bar).tell)
        name = _register(settings, brand, made.gguf, made.card, activate)
    say(f"{plain(name)} registered{' and active' if activate else ''}; files in {plain(kept)}")
    if not activate:
        note(f"Compare it: housevoice adapter evaluate {plain(name)} HELDOUT.jsonl")
        note(f"Use it:     housevoice adapter activate {plain(name)}")


@app.command(name="list")
def list_versions(context: typer.Context, brand: Annotated[str, typer.Argument(help="Only this brand.")] = "") -> None:
    """List all versions, which is active, and what each was trained on."""
    settings: Settings = context.obj
    with errors_for_people():
        rows = _versions(settings, brand)
    table = Table(box=None, pad_edge=False)
    for column in ("Version", "State", "Base", "Rows", "Best loss", "Evaluated", "File hash"):
        table.add_column(column, overflow="fold")
    for row in rows:
        card = row["card"]
        losses = [epoch["validation_loss"] for epoch in card.get("epochs", []) if epoch["validation_loss"] is not None]
        best = f"{min(losses):.3f}" if losses else "-"
        state = "[green]active[/]" if row["is_active"] else ""
        base = card.get("base_name", row["base_sha256"][:12])
        cells = (plain(base), str(card.get("num_rows", "-")), best, plain(last_scores(row)), row["sha256"][:12])
        table.add_row(plain(row["name"]), state, *cells)
    out.print(table)


@app.command()
def activate(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="brand@number, or brand@0 for the base with the brand's prompt.")],
) -> None:
    """Make a version the brand's voice from the next request on. Running answers end as they began."""
    settings: Settings = context.obj
    brand, _, number = version.partition("@")
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            server.post("/api/adapters/activate", {"brand": brand} if number == "0" else {"version": version})
        else:
            with settings.data.own("adapter activate"):
                registry = Registry.open(settings.data)
                if number == "0":
                    registry.deactivate(brand)
                else:
                    chosen = registry.get(version)
                    registry.activate(chosen.brand, chosen.version)
    say(f"{plain(version)} is active.")


@app.command()
def rollback(context: typer.Context, brand: BrandName) -> None:
    """Go back to what the brand used before, from the next request on. Once more goes further back."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            active = server.post("/api/adapters/rollback", {"brand": brand})["active"]
        else:
            with settings.data.own("adapter rollback"):
                version = Registry.open(settings.data).roll_back(brand)
                active = version.name if version else None
    say(f"{plain(active)} is active again." if active else f"{plain(brand)} uses the base with its prompt again.")


@app.command(name="import")
def import_adapter(
    context: typer.Context,
    brand: BrandName,
    source: Annotated[Path, typer.Argument(help="A PEFT folder (safetensors) or a GGUF LoRA.")],
    activate: Annotated[bool, typer.Option("--activate", help="Use the new version at once.")] = False,
) -> None:
    """Register an adapter that was made elsewhere, once it passed the checks that our own have to pass.

    It must fit the served base: names, shapes, finite values, an effect. Whether it is any good says
    [bold]housevoice adapter evaluate[/]. Pickled weights are refused.
    """
    settings: Settings = context.obj
    with errors_for_people(), tempfile.TemporaryDirectory() as work:
        prepare_environment()
        brand_of(settings, brand)
        gguf, card = bring_in(source, brand, resolve_base(settings), Path(work))
        name = _register(settings, brand, gguf, card, activate)
    say(f"{plain(name)} registered{' and active' if activate else ''}.")


app.command(name="evaluate")(evaluate_adapter)
app.command(name="promote")(promote_adapter)
app.command(name="advise")(advise_adapter)


def _check_size(examples: Path) -> None:
    if not examples.is_file():
        raise BadRequestError(f"{examples} does not exist.", "examples", hint="Name a chat-JSONL file.")
    num_rows = sum(1 for line in examples.read_text(encoding="utf-8").splitlines() if line.strip())
    if num_rows < MIN_ROWS:
        raise BadRequestError(
            f"{examples} has {num_rows} rows; below {MIN_ROWS} an adapter learns the rows, not the voice.",
            "examples",
            hint="Write more pairs, or use the brand's prompt alone.",
        )


def _recipe(path: Path | None, epochs: int | None, rank: int | None) -> Recipe:
    recipe = read_recipe(path) if path else Recipe()
    if epochs is not None:
        recipe = replace(recipe, num_epochs=epochs)
    return recipe if rank is None else replace(recipe, rank=rank, alpha=2.0 * rank)


def _register(settings: Settings, brand: str, gguf: Path, card: Card, is_activated: bool) -> str:
    server = find_server(settings)
    if server is not None:
        body = {"brand": brand, "path": str(gguf.absolute()), "card": dict(card), "activate": is_activated}
        return str(server.post("/api/adapters", body)["name"])
    with settings.data.own("adapter train"):
        registry = Registry.open(settings.data)
        version = registry.register(brand, gguf, card)
        if is_activated:
            registry.activate(version.brand, version.version)
        return version.name


def _versions(settings: Settings, brand: str) -> list[dict[str, Any]]:
    server = find_server(settings)
    if server is not None:
        return list(server.get("/api/adapters", brand=brand)["adapters"])
    with settings.data.own("adapter list"):
        found = Registry.open(settings.data).versions(brand or None)
        return [
            {**asdict(version), "name": version.name, "scores": read_scores(version.path.parent)} for version in found
        ]


class _Teller:
    """Training events on a progress bar, with a lasting line for the estimate and for each epoch."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("reading the base", total=None)

    def tell(self, event: TrainingEvent) -> None:
        match event:
            case Estimate():
                minutes, gigabytes = event.seconds / 60, event.peak_bytes / 1e9
                note(f"{event.num_rows} rows, {event.num_steps} steps: about {minutes:.0f} min and {gigabytes:.1f} GB")
            case Step():
                text = f"epoch {event.epoch}  loss {event.loss:.3f}  {event.tokens_per_second:.0f} tokens/s"
                self._bar.update(self._task, description=text, completed=event.step, total=event.num_steps)
            case EpochResult():
                held = "" if event.validation_loss is None else f", held out {event.validation_loss:.3f}"
                note(f"epoch {event.epoch}: loss {event.training_loss:.3f}{held} ({event.seconds:.0f} s)")
                if event.refusals:
                    note(_refusals(event.refusals))


def _refusals(found: RefusalBalance) -> str:
    return (
        f"  with refusal_bias = {found.bias} in the brand's file it refuses {found.refused:.0%} of the unanswerable"
        f" and {found.wrongly_refused:.0%} of the answerable held-out rows (AUROC {found.auroc:.2f})"
    )


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True)
