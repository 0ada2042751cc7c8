"""The command line: which commands there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from detkit.cli.check import check
from detkit.cli.compare import compare
from detkit.cli.compress import compress
from detkit.cli.config import config
from detkit.cli.convert import convert
from detkit.cli.demo import demo
from detkit.cli.embed import embed
from detkit.cli.evaluate import evaluate
from detkit.cli.exits import exit_status
from detkit.cli.explain import explain
from detkit.cli.export import export
from detkit.cli.imagine import imagine
from detkit.cli.import_model import import_model
from detkit.cli.init import init
from detkit.cli.lineage import lineage
from detkit.cli.plan import plan
from detkit.cli.predict import predict
from detkit.cli.propose import propose
from detkit.cli.recall import recall
from detkit.cli.report import report
from detkit.cli.score import score
from detkit.cli.serve import serve
from detkit.cli.show_data import show_data
from detkit.cli.trace import trace
from detkit.cli.train import train

OPTIONS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Commands(TyperGroup):
    """Runs a command and turns what goes wrong into a message and an exit status."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which one meets them."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with exit_status():
            return super().invoke(ctx)


app = typer.Typer(
    name="detkit",
    cls=_Commands,
    epilog="Exit status: 0 done, 1 the answer is no or images were skipped, 2 wrong input, "
    "3 a loss that is not a number, 70 an error in detkit, 130 Ctrl-C.",
    context_settings=OPTIONS,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from detkit.version import VERSION

        print(f"detkit {VERSION}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Train, evaluate and run object detectors from YAML configs."""


NAMES = {evaluate: "eval", import_model: "import"}
"""Names that Python keeps for itself; typer makes the others of the functions', show-data of show_data."""

# In the order in which one meets them.
for command in (
    *(demo, init, check, show_data, plan, train, evaluate, predict, serve),
    *(propose, recall, score, compress, import_model, export, convert, compare, report, explain, trace),
    *(imagine, embed, lineage),
):
    app.command(NAMES.get(command), context_settings=OPTIONS)(command)
app.add_typer(config, name="config")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    try:
        app(list(arguments), prog_name="detkit")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
