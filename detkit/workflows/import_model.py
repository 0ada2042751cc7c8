"""`detkit import`: a trained detector of another program becomes a model file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.config.dump import dump_config, flow
from detkit.config.load import load_config
from detkit.detectors.builder import build_detector
from detkit.detectors.importers import IMPORTERS, Wanted
from detkit.errors import UserError, nearest, shown
from detkit.inference.save_model import save_model
from detkit.models.initialisation import Unfilled
from detkit.models.pretrained import COUNTER, downloaded
from detkit.storage.content_keys import cache_folder
from detkit.storage.run_folder import require_new

_SHOWN = 6


@dataclass(frozen=True)
class Import:
    """The result of `import_model`.

    Attributes:
        arch: `type` of the detector.
        classes: K names.
        parameters: numbers that its weights consist of.
        unused: what the file holds besides.
        missing: weights of the detector that the file does not have; they are as if untrained.
        out: the model file.
    """

    arch: str
    classes: tuple[str, ...]
    parameters: int
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    out: Path

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {**vars(self), "out": str(self.out)}


def import_model(
    files: str | Path | Sequence[str | Path],
    source: str,
    *,
    out: str | Path | None = None,
    arch: str | None = None,
    classes: Sequence[str] = (),
    window: tuple[int, int] | None = None,
    cascade: str | Path | None = None,
    cascade_threshold: float = -0.5,
    norm_eps: float | None = None,
    partial: bool = False,
    overrides: Sequence[str] = (),
) -> Import:
    """Write a model file of a detector that another program trained.

    Args:
        files: what the program left; of voc-release5 one or more *_final.mat, each for a class; of caffe a
            .caffemodel, and perhaps its .prototxt and its mean image (.binaryproto).
        source: which program, a key of `detkit.detectors.importers.IMPORTERS`.
        out: the file to write; None takes one beside the first file, with the ending .safetensors.
        arch: the architecture, where the source has several.
        classes: names of the classes, in the order of the file.
        window: (width, height) in pixels of a window, where it does not follow from the file.
        cascade: of voc-release5, a folder with the statistics of its star-cascade; None looks at all places
            of all parts.
        cascade_threshold: margin that detections of the cascade have at least.
        norm_eps: what the program's frozen norms add to the variance, where it is not the usual number.
        partial: let weights of the detector be missing, which are then as if untrained, or tensors be left
            over that no part is known for.
        overrides: changes to the config that the model file keeps, such as
            "detector.proposals.padding_px=8".

    Raises:
        UserError: the source is unknown, a file is none of its kind, tensors are missing or left over, or
            `out` exists.
    """
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    if not paths:
        raise UserError("import needs a file")
    place = paths[0].with_suffix(".safetensors") if out is None else Path(out)
    if source not in IMPORTERS:
        raise UserError(
            f"--from {shown(source)}: {nearest(source, IMPORTERS)}it must be one of {', '.join(IMPORTERS)}"
        )
    require_new(place)
    folder = None if cascade is None else Path(cascade)
    read = IMPORTERS[source](paths, Wanted(arch, tuple(classes), window, folder, cascade_threshold, norm_eps))
    named = [f"data.classes={flow(read.classes)}"] if read.classes else []
    config = load_config(read.config, [*named, *read.overrides, *overrides])
    classes = tuple(config.data.classes)
    with Unfilled():
        model = build_detector(config.detector, len(classes), config.seed, pretrained=False)
    try:
        fitted = model.load_state_dict(dict(read.state), strict=False)
    except RuntimeError as error:
        raise UserError(
            f"{paths[0]}: does not fit {config.detector.type} as the config has it: {error}"
        ) from None
    _require_all(paths[0], fitted.missing_keys, fitted.unexpected_keys, partial=partial)
    save_model(
        place,
        model,
        classes=classes,
        category_ids=range(1, len(classes) + 1),
        config_yaml=dump_config(config),
        licence=read.licence,
    )
    return Import(
        arch=config.detector.type,
        classes=classes,
        parameters=sum(value.numel() for value in model.state_dict().values()),
        unused=(*read.unused, *fitted.unexpected_keys),
        missing=tuple(name for name in fitted.missing_keys if not name.endswith(COUNTER)),
        out=place,
    )


def published(name: str) -> Path:
    """Return the model file of a detector of torchvision's, downloaded and imported when first used.

    Args:
        name: torchvision's, such as fasterrcnn_resnet50_fpn_v2.

    Raises:
        UserError: there is no such detector, or its weights cannot be downloaded.
    """
    from torchvision.models import detection, get_model_weights, list_models

    names = [one for one in list_models(module=detection) if re.match("(faster|mask|keypoint)rcnn_", one)]
    if name not in names:
        raise UserError(
            f"torchvision:{shown(name)}: {nearest(name, names)}it must be one of {', '.join(names)}"
        )
    entry = get_model_weights(name).DEFAULT
    place = cache_folder() / "models" / f"{Path(entry.url).stem}.safetensors"
    if not place.is_file():
        file, _ = downloaded(entry, f"torchvision:{name}: ")
        place.parent.mkdir(parents=True, exist_ok=True)
        import_model(file, "torchvision", out=place)
    return place


def _require_all(file: Path, missing: Sequence[str], left_over: Sequence[str], *, partial: bool) -> None:
    """Check that every tensor has its place, but for the counters of norms, which nothing depends on."""
    missing = [name for name in missing if not name.endswith(COUNTER)]
    if partial or not (missing or left_over):
        return
    lines = [
        f"  {what}: {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if names[_SHOWN:] else ''}"
        for what, names in (("not in it", missing), ("left over", left_over))
        if names
    ]
    raise UserError(f"{file}: does not fit the detector:", *lines, "--partial takes what there is")
