"""`housevoice adapter curate`: look through an example set before anything is trained on it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from adapters.curation.checks import MEANINGS, Kind
from adapters.curation.curate import CLEAN_FILE, SPLIT_FILE, Curated, curate, write_curated
from adapters.curation.page import render_page
from config.settings import Settings
from server.cli.connection import brand_of
from server.cli.console import errors_for_people, out, plain, say

SHOWN = 30


def curate_examples(
    context: typer.Context,
    brand: Annotated[str, typer.Argument(help="The brand whose format rules and refusal the rows are held against.")],
    examples: Annotated[Path, typer.Argument(help="Chat-JSONL, prompt/completion JSONL, or CSV.")],
    held_out: Annotated[Path | None, typer.Option("--heldout", help="A file of rows that are all held out.")] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help=f"Write {CLEAN_FILE} and {SPLIT_FILE} into this folder.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="A page on which to keep, edit or drop rows.")] = None,
    share: Annotated[
        float, typer.Option("--heldout-share", min=0, max=0.5, help="Held out of rows that name no split.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of that choice.")] = 7,
) -> None:
    """Report what is wrong with an example set, and write it again without duplicates and leaks.

    Found and left to you: near duplicates, contradictions, outliers in length, facts that no source holds, personal
    data and secrets, broken format rules, missing refusals. The split is frozen: a row that was once held out is never
    let into training again.

    Exit code 0: it can be trained on; 1: it must not, or rows could not be read; 2: could not run.
    """
    settings: Settings = context.obj
    with errors_for_people():
        found = curate(examples, held_out, brand_of(settings, brand), share, seed)
        _print(found)
        if output is not None:
            say(f"Written: {plain(write_curated(found, output))}")
        if html is not None:
            html.write_text(render_page(found, f"{brand}: {examples.name}"), encoding="utf-8")
            say(f"Open in a browser: {plain(html)}")
    raise typer.Exit(1 if found.must_stop or found.problems else 0)


def _print(found: Curated) -> None:
    if found.problems or found.findings:
        table = Table(box=None, pad_edge=False)
        for column in ("Line", "What", "Detail"):
            table.add_column(column, overflow="fold")
        for problem in found.problems[:SHOWN]:
            table.add_row(str(problem.line), "unusable", plain(problem.reason))
        for finding in found.findings[:SHOWN]:
            table.add_row(str(finding.line or "all"), finding.kind.replace("_", " "), plain(finding.text))
        out.print(table)
    hidden = max(0, len(found.findings) - SHOWN) + max(0, len(found.problems) - SHOWN)
    if hidden:
        say(f"and {hidden} more: --html shows all of them")
    for kind, number in found.counts.items():
        say(f"{number:5}  {MEANINGS[Kind(kind)]}")
    held = sum(row.split != "train" for row in found.kept)
    left_out = len(found.rows) - len(found.kept)
    say(
        f"{len(found.kept) - held} training rows and {held} held out are kept, {left_out} left out,"
        f" {len(found.problems)} unusable"
    )
