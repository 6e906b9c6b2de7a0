"""The command line: thin verbs over the library, one file each.  Heavy imports wait until a verb needs them."""

from __future__ import annotations

import sys

import typer

from feederlab.cli import catalogue, compare, console, hosting, opf, report, reproduce, run, show, sweep, train
from feederlab.errors import FeederlabError

app = typer.Typer(
    name="feederlab",
    help="Compare, certify and embed voltage controllers on electricity distribution feeders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    catalogue.scenarios,
    catalogue.controllers,
    show.show,
    compare.compare,
    run.run,
    report.report,
    opf.opf,
    sweep.sweep,
    hosting.hosting,
    reproduce.reproduce,
):
    app.command()(verb)
app.add_typer(train.app, name="train")


def main() -> None:
    """Run the command line; a known error is one message on stderr and its own exit code."""
    try:
        app()
    except FeederlabError as error:
        console.fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a folder that may not be written to, a full disk
        console.fail(str(error))
        sys.exit(1)
