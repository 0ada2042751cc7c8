"""Location of a config: a file of the user's, or one that is shipped, by its short name."""

from __future__ import annotations

import textwrap
from pathlib import Path

from detkit.config.problems import nearest
from detkit.errors import UserError


def config_folder() -> Path:
    """Return the folder of the shipped configs: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Return the short names of all shipped configs, sorted."""
    return sorted(file.stem for file in config_folder().glob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """Return the file that a path or a short name stands for.

    Args:
        name: path of a YAML file, or a name such as "faster_rcnn_resnet50_fpn_voc07".

    Raises:
        UserError: If there is neither; the message gives the nearest name and all names.
    """
    file = Path(name)
    if file.is_file():
        return file
    names = config_names()
    if str(name) in names:
        return config_folder() / f"{name}.yaml"
    if file.is_dir():
        raise UserError(
            f"{name}: is a folder; a config is a YAML file (detkit init {name} -o my.yaml writes one)"
        )
    if file.suffix in (".yaml", ".yml") or len(file.parts) > 1:
        beside = [p.name for p in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        guess = nearest(file.name, beside)
        if file.stem in names:
            guess = f"the shipped config is called {file.stem}, without ending"
        raise UserError(f"{name}: no such file" + (f"; {guess.rstrip()}" if guess else ""))
    listed = textwrap.fill(", ".join(names), 100, initial_indent="  ", subsequent_indent="  ")
    guess = nearest(name, names)
    raise UserError(f"{name}: no such file, and no shipped config has that name; {guess}There are:\n{listed}")
