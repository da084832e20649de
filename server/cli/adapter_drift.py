"""`housevoice adapter drift`: does each version still answer as it did at first?"""

from typing import Annotated, Any

import typer
from rich.table import Table

from config.settings import Settings
from server.cli.connection import find_server
from server.cli.console import errors_for_people, note, out, plain, say
from server.drift import DriftStore, Measure, drift_tables

NUM_DAYS = 30


def drift(
    context: typer.Context,
    brand: Annotated[str, typer.Argument(help="Only this brand.")] = "",
    days: Annotated[int, typer.Option(min=1, help="How many days back the table goes.")] = NUM_DAYS,
) -> None:
    """Show, by day and version, how many answers had the brand's form, were refusals, and had a citation.

    A version's first answers are its baseline; what left it by more than \\[drift] in the settings allows is an alert.
    Counted without any text, whether or not texts are kept.
    """
    settings: Settings = context.obj
    with errors_for_people():
        found = drift_of(settings, brand, days)
    if not found["versions"]:
        note("No answers were counted yet." if not brand else f"No answers of {plain(brand)} were counted yet.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("Day", "Version", "Answers", "Form", "Refusals", "With citation"):
        table.add_column(column, overflow="fold")
    for version in found["versions"]:
        table.add_row("[dim]at first[/]", *_cells(version["name"], version["baseline"]))
    for row in found["days"]:
        table.add_row(row["day"], *_cells(row["name"], row))
    out.print(table)
    for version in found["versions"]:
        for text in version["alerts"].values():
            say(f"[bold yellow]alert[/] {plain(text)}")


def drift_of(settings: Settings, brand: str = "", days: int = NUM_DAYS) -> dict[str, Any]:
    """From the running server, or from the data directory."""
    server = find_server(settings)
    if server is not None:
        return dict(server.get("/api/adapters/drift", brand=brand, days=days))
    with settings.data.own("adapter drift"):
        store = DriftStore.open(settings.data, settings.drift)
        try:
            return dict(drift_tables(store, brand, days))
        finally:
            store.close()


def _cells(name: str, shares: dict[str, Any]) -> tuple[str, ...]:
    values = (shares[measure.value] for measure in Measure)
    return (plain(name), str(shares["answers"]), *("-" if value is None else f"{value:.0%}" for value in values))
