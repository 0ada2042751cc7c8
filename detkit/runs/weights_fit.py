"""Configs that fit a file of weights: of a backbone, or of a whole detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from torch import cuda

from detkit.config.dump import dump_config
from detkit.config.load import load_config, parse_config
from detkit.config.schema import Config
from detkit.detectors.builder import build_detector
from detkit.detectors.families import starts_of
from detkit.errors import UserError
from detkit.inference.model_file import read_model_file
from detkit.models.backbones.families import family_of
from detkit.models.initialisation import Unfilled
from detkit.models.pretrained import OWN_PARTS, LoadReport
from detkit.names import counted
from detkit.spec import Origin
from detkit.storage.regular_files import is_file


def fitted_to_weights(
    configs: Mapping[str, Config], *, other_depths: bool
) -> tuple[dict[str, Config], list[str]]:
    """Return those configs whose backbones their file of weights fits best, and what is to be said of it.

    Configs that start from published weights or none stay as they are.

    Args:
        configs: by name, with one file of weights.
        other_depths: whether networks of other depths are tried, too, where it fits none.

    Raises:
        UserError: the file cannot be read, or nothing in it fits.
    """
    file = next(iter(configs.values())).detector.weights_file
    if not is_file(Path(file)):  # a shipped config may name one that is still to be made
        return dict(configs), []
    tried = _tried(configs)
    if other_depths and all(misfit for misfit, _, _ in tried.values()):
        tried |= _tried(dict(chain.from_iterable(_others(name, one) for name, one in configs.items())))
    if not tried:
        first = next(iter(configs.values()))
        build_detector(first.detector, len(first.data.classes))  # says why
    best = min(misfit for misfit, _, _ in tried.values())
    kept = {name: (config, report) for name, (misfit, config, report) in tried.items() if misfit == best}
    report = next(iter(kept.values()))[1]
    notes = str(report).splitlines()
    notes += [
        f"{name} is not tried: {counted(misfit, 'tensor')} of its backbone and of that file do not fit"
        for name, (misfit, _, _) in tried.items()
        if name in configs and name not in kept
    ]
    return {name: config for name, (config, _) in kept.items()}, notes


def template_of_model(
    weights: str | Path, overrides: Sequence[str], classes: Sequence[str]
) -> tuple[dict[str, Config], list[str]]:
    """Return a config whose training may start from a trained detector, by what to call it, and notes.

    The detector, the size of images and the precision are those of the file; data and the training are those
    that its family starts from on data of one's own.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        overrides: changes to the config.
        classes: of the images, of which those that the file knows keep their outputs.

    Raises:
        UserError: the file cannot be read, names code that may not run, or holds a detector that no shipped
            config starts from.
    """
    file = read_model_file(weights)
    trained = parse_config(file.config_yaml, f"{file.path} (config)", origin=Origin(file.path, is_own=False))
    starts = starts_of(trained.detector.type, gpu=cuda.is_available())
    if not starts:
        raise UserError(f"--from {weights}: detkit init has no config to start from with its detector")
    own = load_config(starts[-1])
    changed = own.model_copy(
        update={
            "detector": trained.detector,
            "data": own.data.model_copy(update={"resize": trained.data.resize}),
            "train": own.train.model_copy(update={"precision": trained.train.precision}),
        }
    )
    config = parse_config(dump_config(changed), f"--from {weights}", overrides)
    shared = [name for name in classes if name in file.classes]
    notes = [
        f"detector, image size and anchors are those of {file.path}; start from it: detkit train THIS_FILE "
        f"--from {file.path}",
        f"it knows {', '.join(shared) or 'none'} of the classes; outputs for others start anew",
    ]
    return {f"{starts[-1]} and {file.path.name}": config}, notes


def _tried(configs: Mapping[str, Config]) -> dict[str, tuple[int, Config, LoadReport]]:
    """Return how many tensors of each backbone or of its stages in the file do not fit, and what it took.

    One that takes nothing is left out.
    """
    taken = {}
    for name, config in configs.items():
        reports = list[Any]()
        try:
            with Unfilled():
                model = build_detector(config.detector, len(config.data.classes), on_weights=reports.append)
        except UserError:
            continue
        own = {key.removeprefix(OWN_PARTS[0]) for key in model.state_dict() if key.startswith(OWN_PARTS[0])}
        stages, report = {key.partition(".")[0] for key in own}, reports[0]
        lacking = own.intersection(report.missing) | own.intersection(key for key, _, _ in report.reshaped)
        strange = [key for key in report.unused if key.partition(".")[0] in stages]
        taken[name] = len(lacking) + len(strange), config, report
    return taken


def _others(name: str, config: Config) -> Iterator[tuple[str, Config]]:
    """Yield a config with the other networks of its backbone's family, and what to call it."""
    detector: Any = config.detector
    for network, backbone in family_of(detector.backbone).others(detector.backbone):
        changed = detector.model_copy(update={"backbone": backbone})
        yield f"{name} with {network}", config.model_copy(update={"detector": changed})
