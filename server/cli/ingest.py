"""`housevoice ingest SOURCE` brings documents in, once or as they change; `housevoice ingest status` shows the runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from typer.core import TyperGroup

from config.errors import BadRequestError, HousevoiceError
from config.settings import Settings
from ingest.documents import IngestReport
from ingest.patterns import Selection
from ingest.store import checked_name
from server.api.schemas.admin import IngestBody
from server.cli.console import errors_for_people, note, out, plain, say
from server.cli.ingest_once import ingest_once
from server.cli.ingest_status import show_run, show_runs
from server.cli.watch import changes_of


class SourceOrCommand(TyperGroup):
    """`run` stands for itself: what is no other command is its source or an option of it."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        known = args[:1] and args[0] in self.commands
        return super().parse_args(ctx, args if known else ["run", *args])


app = typer.Typer(cls=SourceOrCommand, help="Bring documents in: a folder, files, web pages.")


@app.command()
def run(
    context: typer.Context,
    source: Annotated[Path | None, typer.Argument(help="A file or a folder (with all its sub-folders).")] = None,
    knowledge_base: Annotated[str, typer.Option("--knowledge-base", "-k", help="Named set of documents.")] = "company",
    include: Annotated[
        list[str] | None, typer.Option(help="Only files like this ('*.pdf', 'hr/'); repeatable.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No files like this ('drafts/'); repeatable.")] = None,
    url: Annotated[list[str] | None, typer.Option(help="A web page; repeatable.")] = None,
    urls: Annotated[Path | None, typer.Option(help="A file with one address a line.")] = None,
    sitemap: Annotated[str | None, typer.Option(help="All pages of this sitemap.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on as the folder changes, until Ctrl-C.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change and change nothing.")] = False,
) -> None:
    """Bring the index up to date with a folder, a file, web pages or a sitemap: new, changed and removed documents.

    Run it again whenever documents change; unchanged ones cost nothing. Answers change at once, without a restart.
    What --include and --exclude leave out of a folder is removed if it was indexed, so give the same ones each time.

    [bold]housevoice ingest status[/] shows the runs, [bold]housevoice ingest status RUN[/] one of them with its
    failures. (A folder of that name: ./status)

    Exit code 0: all indexed; 1: some files failed (listed with reasons); 2: could not run.
    """
    settings: Settings = context.obj
    with errors_for_people():
        checked_name(knowledge_base)
        body = IngestBody(
            path=source.absolute() if source else None,
            urls=(*(url or ()), *_addresses(urls)),
            sitemap=sitemap,
            knowledge_base=knowledge_base,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            dry_run=dry_run,
        )
        if watch:
            _watch(settings, body)
            return
        report = ingest_once(settings, body)
        print_report(report)
    raise typer.Exit(1 if report.failures else 0)


@app.command()
def status(
    context: typer.Context,
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's id; else the latest are listed.")
    ] = None,
) -> None:
    """Show the runs of ingest: the one that goes on (live, on a terminal), and how the others ended."""
    settings: Settings = context.obj
    with errors_for_people():
        show_run(settings, run_id) if run_id else show_runs(settings)


def print_report(report: IngestReport) -> None:
    if report.failures:
        table = Table(title="Not indexed", title_justify="left", box=None, pad_edge=False)
        for column in ("File", "Reason", "Detail"):
            table.add_column(column, overflow="fold")
        for failure in report.failures:
            table.add_row(plain(failure.path), plain(failure.reason), plain(failure.detail))
        out.print(table)
    would = "would be: " if report.dry_run else ""
    say(f"{would}{report.summary} ({report.num_chunks} chunks, {report.seconds:.1f} s)")


def _watch(settings: Settings, body: IngestBody) -> None:
    """Each change becomes a run over the folder, which costs little where little has changed."""
    if body.path is None or not body.path.is_dir():
        raise BadRequestError(
            "Only a folder can be watched.", "source", hint="Name one: housevoice ingest FOLDER --watch"
        )
    ingest = settings.ingest
    selection = Selection([*ingest.include, *body.include], [*ingest.exclude, *body.exclude])
    note(f"Watching {plain(body.path)}. Ctrl-C ends it.")
    for _ in changes_of(body.path, selection):
        report = ingest_once(settings, body, patience_seconds=600)
        if report.is_change or report.num_added or report.failures:
            print_report(report)


def _addresses(file: Path | None) -> list[str]:
    """One a line; empty lines and those that begin with # do not count."""
    if file is None:
        return []
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise HousevoiceError(
            f"{file} cannot be read ({error}).", "Name a text file with one address a line."
        ) from error
    return [line for line in lines if line and not line.startswith("#")]
