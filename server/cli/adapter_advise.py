"""`housevoice adapter advise`: what the base does with words alone, and whether training would be worth it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from adapters.evaluation.advise import Action, Tried, advise, try_arms
from adapters.evaluation.measures import MEASURES
from adapters.evaluation.questions import read_questions
from adapters.examples import Example
from adapters.training.recipe import Recipe, read_recipe
from config.brands import Brand
from config.environment import prepare_environment
from config.errors import ModelError
from config.models import resolve_base
from config.prompt import Conversation, Source
from config.settings import Settings
from server.cli.asking import ServerAsks
from server.cli.connection import brand_of, require_server
from server.cli.console import errors_for_people, note, out, plain, say

TIMED_ROWS = 8
SHOWN = ("form", "style", "correct", "fact", "grounded", "citation", "refusal", "wrong_refusal")


def advise_adapter(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="BRAND", help="The brand's name, as in its file.")],
    pairs: Annotated[Path, typer.Argument(help="The brand's pairs: rows of the splits train and heldout.")],
    heldout: Annotated[
        Path | None, typer.Option("--heldout", help="Held-out rows, if they are in another file.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first N held-out questions.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="The recipe that training would take.")] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="What a hosted API asks for a million training tokens, in any currency.")
    ] = None,
    skip_estimate: Annotated[bool, typer.Option("--skip-estimate", help="Do not time training here.")] = False,
    streams: Annotated[int, typer.Option(min=1, max=64, help="Questions under way at a time.")] = 4,
) -> None:
    """Ask the held-out questions of the base with ever better prompts, and say whether a gap is left to train.

    The plain prompt; the brand's untuned_prompt; the same with a few of the training pairs as examples; and with the
    documents, without and with examples. What is left is a gap of style and format (train), of knowledge (ingest) or of
    reading (a larger base), or none (do not train). Then what training would cost: minutes here, tokens elsewhere.
    """
    settings: Settings = context.obj
    with errors_for_people():
        server, brand = require_server(settings), brand_of(settings, name)
        questions = read_questions(heldout or pairs, brand, "heldout")[:limit]
        training = read_questions(pairs, brand, "train")
        known = frozenset(row["path"] for row in server.get("/api/documents")["documents"])
        base = str(server.get("/api/brands")["base"])
        asks = ServerAsks(server, settings, streams)
        tried = try_arms(asks, brand, base, questions, training, known)
        chosen = read_recipe(recipe) if recipe else Recipe()
        print_tried(tried)
        if len(questions) < brand.gate.min_questions:
            note(f"{len(questions)} questions are few: read the intervals, not the figures.")
        for verdict in advise(tried):
            colour = "green" if verdict.action is Action.KEEP_PROMPT else "bold"
            say(f"[{colour}]{verdict.action.capitalize()}.[/] {plain(verdict.reason)}")
        _print_cost(settings, tried, chosen, price, times=not skip_estimate)


def print_tried(tried: Tried) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("The base with", no_wrap=True)
    shown = [name for name in SHOWN if any(system.scores[name] for system in tried.systems.values())]
    for name in shown:
        table.add_column(MEASURES[name].title.replace(" ", "\n"), no_wrap=True)
    for name, system in tried.systems.items():
        cells = (str(system.scores[measure] or "-") for measure in shown)
        table.add_row(name, *(cell.replace(" (", "\n(").replace(", n=", ",\nn=") for cell in cells))
    out.print(table)
    if tried.found:
        say(f"the right document is among the retrieved ones for {tried.found} of the answerable questions")
    note("Shares of questions with 95 % intervals; what each measure counts: docs/voice-evaluation.md.")


def timed_examples(tried: Tried, brand: Brand) -> list[Example]:
    """Held-out rows with the sources that serving gave them: training rows would look just like them."""
    with_sources = [system for system in tried.counted if any(item.answer.sources for item in system.judged)]
    judged = (with_sources or tried.counted)[0].judged[:TIMED_ROWS]
    return [
        Example(
            Conversation(
                item.question.turns,
                tuple(
                    Source(number, source.title, source.heading, source.text)
                    for number, source in enumerate(item.answer.sources, 1)
                ),
                brand.system_prompt,
            ),
            item.question.reference,
        )
        for item in judged
    ]


def _print_cost(settings: Settings, tried: Tried, recipe: Recipe, price: float | None, *, times: bool) -> None:
    num_rows = tried.num_training_rows
    examples = timed_examples(tried, tried.brand)
    tokens_per_row, seconds = _timed(settings, examples, num_rows, recipe) if times else (None, None)
    if tokens_per_row is None:
        tokens_per_row = _counted(settings, examples)
    if seconds is not None:
        say(f"Training {num_rows} rows here, {recipe.num_epochs} epochs: about {seconds / 60:.0f} minutes.")
    tokens = num_rows * tokens_per_row * recipe.num_epochs
    hosted = f"On a hosted API: {num_rows} rows x {tokens_per_row:.0f} tokens x {recipe.num_epochs} epochs"
    cost = f", {price * tokens / 1e6:.2f} at {price:g} a million" if price is not None else ""
    say(f"{hosted} = {tokens / 1e6:.2f} million training tokens{cost}.")


def _timed(
    settings: Settings, examples: Sequence[Example], num_rows: int, recipe: Recipe
) -> tuple[float | None, float | None]:
    """Tokens a row and seconds in all; None where the base cannot be trained on here."""
    note("Timing a few rows of training...")
    prepare_environment()
    from adapters.training.base import load_base
    from adapters.training.forecast import forecast

    try:
        base = load_base(resolve_base(settings).path, recipe.precision, recipe.threads, recipe.base_bits)
        found = forecast(base, examples, num_rows, recipe)
    except ModelError as error:
        note(f"Training here is not timed: {plain(error)}")
        return None, None
    return found.tokens_per_row, found.seconds


def _counted(settings: Settings, examples: Sequence[Example]) -> float:
    """Tokens a row, from the vocabulary alone."""
    from adapters.training.dataset import build_rows
    from config.chat_template import turn_format_from_template
    from server.engine.vocabulary import Vocabulary

    vocabulary = Vocabulary.open(resolve_base(settings).path)
    turn_format = turn_format_from_template(vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text)
    rows = build_rows(examples, turn_format, vocabulary.encode, max_tokens=1_000_000)
    return sum(row.num_tokens for row in rows) / len(rows)
