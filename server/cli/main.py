"""`housevoice`: the root command, its global options, and the list of sub-commands."""

from pathlib import Path
from typing import Annotated

import typer

from config.settings import Settings, load_settings
from server.cli import (
    access,
    adapter,
    adapter_upgrade,
    ask,
    doctor,
    evaluation,
    facts,
    feedback,
    index,
    ingest,
    jobs,
    keys,
    listing,
    quarantine,
    serve,
)
from server.cli.console import errors_for_people

app = typer.Typer(
    name="housevoice",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Answers with facts from your documents, in your brand's voice, through any OpenAI client.\n\n"
        "First steps: [bold]housevoice serve --sample[/], then in a second terminal "
        "[bold]housevoice ask halden 'How long is the H5 covered?'[/]\n\n"
        "Your own: [bold]housevoice ingest FOLDER[/], a brand file in brands/, [bold]housevoice adapter train BRAND[/]."
    ),
)


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="Settings file; needs only the keys that differ.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data directory (HOUSEVOICE_DATA_DIR).")] = None,
) -> None:
    settings = load_settings(config)
    if data_dir is not None:
        settings = with_data_dir(settings, data_dir)
    context.obj = settings


def with_data_dir(settings: Settings, data_dir: Path) -> Settings:
    return settings.model_copy(update={"storage": settings.storage.model_copy(update={"data_dir": data_dir})})


serve.register(app)
facts.register(app)
ask.register(app)
listing.register(app)
doctor.register(app)
adapter_upgrade.register(adapter.app)
app.add_typer(access.app, name="access")
app.add_typer(ingest.app, name="ingest")
app.add_typer(adapter.app, name="adapter")
app.add_typer(evaluation.app, name="eval")
app.add_typer(feedback.app, name="feedback")
app.add_typer(index.app, name="index")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(quarantine.app, name="quarantine")


def main() -> None:
    with errors_for_people():
        app(standalone_mode=True)


if __name__ == "__main__":
    main()
