"""Arguments and options that several commands take, and the config that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.errors import UserError

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


_PUBLISHED = "torchvision:"

# What is named is looked for at once: a workflow loads torch first, which takes seconds.


def model_file(weights: Path | None) -> Path | None:
    """Return a detector's file, or the folder of a run that holds one, if it can be read.

    `torchvision:NAME` is the file of a published detector, which is downloaded when it is first used.
    """
    if str(weights).startswith(_PUBLISHED):
        from detkit.workflows.import_model import published

        return published(str(weights).removeprefix(_PUBLISHED))
    if weights is not None:
        from detkit.inference.model_file import read_model_file

        read_model_file(weights)
    return weights


def run_folder(run: Path) -> Path:
    """Return the folder of a run, if that was finished."""
    from detkit.storage.run_folder import require_finished

    require_finished(run)
    return run


def dataset_place(dataset: str) -> str:
    """Return what names a dataset, if it is there."""
    from detkit.annotations.detect import require_there
    from detkit.data.synthetic.dataset import is_embedded

    if not is_embedded(dataset):
        require_there(Path(dataset))
    return dataset


Weights = Annotated[
    Path,
    typer.Argument(
        metavar="WEIGHTS",
        help="The detector: a model.safetensors, or torchvision:NAME, which is downloaded.",
        callback=model_file,
    ),
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a training or an evaluation.", callback=run_folder)
]
BackboneWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Pretrained weights of the backbone; short for detector.backbone.weights=FILE.",
    ),
]


def box_numbers(text: str | None) -> list[float] | None:
    """Return the numbers of --box.

    Raises:
        UserError: they are none.
    """
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"--box: expected four numbers x1,y1,x2,y2; got {text!r}") from None


def _as_written(text: str | None) -> str | None:
    box_numbers(text)  # refused before a model is read
    return text


Box = Annotated[
    str | None,
    typer.Option(
        metavar="X1,Y1,X2,Y2",
        help="A region of the image in pixels, detected or not.",
        callback=_as_written,
    ),
]


def checked(
    config: str, overrides: list[str] | None, weights: Path | None = None, *, parts: Sequence[str] = ()
) -> Config:
    """Read a config; before a workflow is imported, which may load torch and take seconds.

    Args:
        config: a file or a shipped config's name.
        overrides: changes to it.
        weights: of the backbone.
        parts: of its data that are going to be read: train, val.

    Raises:
        UserError: there is no such config or a mistake in it, or what `data` names is not there.
    """
    from detkit.config.load import load_config

    given = [] if weights is None else [weights_override(weights)]
    read = load_config(config, [*(overrides or ()), *given])
    if parts:
        from detkit.data.datasets.readers import require_places

        for part in parts:
            require_places(part, getattr(read.data, part))
    return read


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
