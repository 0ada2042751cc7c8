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


BackboneWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Pretrained weights of the backbone; short for detector.backbone.weights=FILE.",
    ),
]


def checked(config: str, overrides: list[str] | None, weights: Path | None = None) -> Config:
    """Read a config; before a workflow is imported, which may load torch and take seconds.

    Args:
        config: a file or a shipped config's name.
        overrides: changes to it.
        weights: of the backbone.
    """
    from detkit.config.load import load_config

    given = [] if weights is None else [weights_override(weights)]
    return load_config(config, [*(overrides or ()), *given])


def weights_override(weights: Path) -> str:
    """Return the change to a config that names a file of weights of the backbone.

    Raises:
        UserError: there is no such file.
    """
    from detkit.errors import UserError
    from detkit.storage.regular_files import is_file

    if not is_file(weights):
        raise UserError(f"--weights {weights}: there is no such file")
    return f"detector.backbone.weights={weights.absolute()}"
