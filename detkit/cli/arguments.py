"""Arguments and options that several commands take, and the config that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detkit.config.schema import Config

ConfigName = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="SECTION.KEY=VALUE", help="Changes to the config, such as train.epochs=3."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for the results, new or empty. Default: a new one."),
]
AllowCustom = Annotated[
    bool,
    typer.Option(
        "--allow-custom",
        help="Let a model file, or the config of a run's folder, run code that it names (type: custom).",
    ),
]


def checked(config: str, overrides: list[str] | None) -> Config:
    """Read a config; before a workflow is imported, which may load torch and take seconds."""
    from detkit.config.load import load_config

    return load_config(config, overrides or ())
