"""`housevoice adapter`: examples with sources, training, versions, and the comparison with plain prompting."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adapters.bring_in import bring_in
from adapters.make import TrainingInput, make_adapter
from adapters.registry import Card
from config.environment import prepare_environment
from config.errors import BadRequestError
from config.fact_layout import FactLayout
from config.models import resolve_base
from config.settings import Settings
from server.cli.adapter_advise import advise_adapter
from server.cli.adapter_drift import drift
from server.cli.adapter_evaluate import evaluate_adapter, promote_adapter
from server.cli.adapter_versions import canary, list_versions, own_registry, retire
from server.cli.connection import brand_of, find_server, own_store
from server.cli.console import errors_for_people, note, plain, say
from server.cli.curate import curate_examples
from server.cli.training_run import choose_recipe, run_folder
from server.cli.training_view import TrainingView, show_cost
from server.prepare import Preparer, read_pairs, write_rows
from server.proof import proof_prompts, prove
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


Reading = Annotated[
    FactLayout | None,
    typer.Option(help="How sources are read: exact, or blocks (each alone, computed once for all brands)."),
]
RunFolder = Annotated[Path | None, typer.Option("--out", help="Keep checkpoints, curve, recipe and adapter here.")]


@app.command()
def train(
    context: typer.Context,
    brand: BrandName,
    examples: Annotated[Path, typer.Argument(help="Chat-JSONL as OpenAI's fine-tuning takes it; `sources` optional.")],
    validation: Annotated[Path | None, typer.Option(help="Held-out chat-JSONL; the best epoch on it is kept.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file (TOML); needs only the keys that differ.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows.")] = None,
    rank: Annotated[int | None, typer.Option(help="LoRA rank.")] = None,
    fact_layout: Reading = None,
    output: RunFolder = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the interrupted run in this folder.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, whatever lies in the folder.")] = False,
    activate: Annotated[bool, typer.Option("--activate", help="Use the new version at once.")] = False,
) -> None:
    """Train a LoRA for a brand on the served base, convert it, prove it, and register it as the next version.

    Fewer than 50 rows are refused; 100 to 500 good ones are the useful range. A running server goes on answering and
    picks the version up when it is activated. Whatever ends the command early: the same command again goes on from the
    last checkpoint, and ends with the same adapter.
    """
    settings: Settings = context.obj
    with errors_for_people():
        prepare_environment()
        chosen = brand_of(settings, brand)
        _check_size(examples)
        base, given = resolve_base(settings), TrainingInput(brand, chosen.system_prompt, examples, validation)
        how = choose_recipe(resume, recipe, epochs, rank, fact_layout)
        kept = resume or output or run_folder(settings, given, how, base.sha256)
        note(f"checkpoints in {plain(kept)}")
        with TrainingView() as view:
            made = make_adapter(base, given, how, kept, view.tell, restart=restart)
        show_cost(made.training)
        proof = prove(base.path, made.gguf, made.training.adapter, proof_prompts(base.path, chosen.system_prompt))
        note(str(proof))
        name = _register(settings, brand, made.gguf, {**made.card, "proof": asdict(proof)}, activate, made.rows)
    say(f"{plain(name)} registered{' and active' if activate else ''}; files in {plain(kept)}")
    if not activate:
        note(f"Compare it: housevoice adapter evaluate {plain(name)} HELDOUT.jsonl")
        note(f"Use it:     housevoice adapter activate {plain(name)}")


app.command(name="list")(list_versions)


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
            with own_registry(settings, "adapter activate") as registry:
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
            with own_registry(settings, "adapter rollback") as registry:
                version = registry.roll_back(brand)
                active = version.name if version else None
    say(f"{plain(active)} is active again." if active else f"{plain(brand)} uses the base with its prompt again.")


app.command()(canary)
app.command()(drift)
app.command()(retire)


@app.command(name="import")
def import_adapter(
    context: typer.Context,
    brand: BrandName,
    source: Annotated[Path, typer.Argument(help="A PEFT folder (safetensors) or a GGUF LoRA.")],
    plain_lora: Annotated[
        bool, typer.Option("--plain", help="A PEFT folder: on from the first token, as it was trained elsewhere.")
    ] = False,
    fact_layout: Annotated[
        FactLayout, typer.Option(help="How it was trained to read its sources; blocks only if you know that it was.")
    ] = "exact",
    activate: Annotated[bool, typer.Option("--activate", help="Use the new version at once.")] = False,
) -> None:
    """Register an adapter that was made elsewhere, once it passed the checks that our own have to pass.

    It must fit the served base (names, shapes, finite values), have an effect and leave the base as it is; one from a
    PEFT folder must compute in llama.cpp what it computes in PEFT. Whether it is any good says
    [bold]housevoice adapter evaluate[/]. Pickled weights are refused.

    Adapters of other trainers expect to be on from the first token. With [bold]--plain[/] they are, and each answer
    computes its sources under the adapter; without, they are on from the last question, as ours are.
    """
    settings: Settings = context.obj
    with errors_for_people(), tempfile.TemporaryDirectory() as work:
        prepare_environment()
        chosen, base = brand_of(settings, brand), resolve_base(settings)
        gguf, card = bring_in(source, brand, base, Path(work), "plain" if plain_lora else "activated", fact_layout)
        peft = source.expanduser() if source.is_dir() else None
        proof = prove(base.path, gguf, peft, proof_prompts(base.path, chosen.system_prompt))
        note(str(proof))
        name = _register(settings, brand, gguf, {**card, "proof": asdict(proof)}, activate)
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


def _register(
    settings: Settings, brand: str, gguf: Path, card: Card, is_activated: bool, rows: Sequence[Path] = ()
) -> str:
    server = find_server(settings)
    if server is not None:
        body = {"brand": brand, "path": str(gguf.absolute()), "card": dict(card), "activate": is_activated}
        kept = [str(path.absolute()) for path in rows]
        return str(server.post("/api/adapters", {**body, "rows": kept})["name"])
    with own_registry(settings, "adapter train") as registry:
        version = registry.register(brand, gguf, card, rows)
        if is_activated:
            registry.activate(version.brand, version.version)
        return version.name
