"""`detkit imagine`: images made for a detector or classifier, which show what it learned to look for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detkit.capabilities import ComputesMaps, DecidesOnRegions, ShowsFilters
from detkit.data.images import decode_image
from detkit.errors import UserError, cut, nearest, shown
from detkit.explain.imagine import (
    METHODS,
    RECIPES,
    SMALLEST_PX,
    Imagined,
    Method,
    Recipe,
    dream,
    invert,
    maximise,
)
from detkit.explain.layers import Layer, layer_of
from detkit.explain.regularisers import as_pixels
from detkit.explain.subject import GREY, Subject, normalised, require_box
from detkit.inference.model_file import model_path
from detkit.inference.predictor import Predictor
from detkit.names import file_names
from detkit.report.content import Curve, Number, Picture, Plot
from detkit.report.draw import fit, write_image
from detkit.report.filters import activation_picture, filter_pictures
from detkit.report.imagined_page import imagined_page
from detkit.runs.predictor import build_predictor
from detkit.runtime.threads import number_kept
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import file_stamp, key_of
from detkit.storage.run_folder import results_folder
from detkit.structures import ImageBatch

PAGE = "imagined.html"
_MIDDLE = 1 / 8  # of each side, which the region of a detector leaves free
_SIZE_PX: dict[Method, int] = {"maximise": 256, "invert": 256, "dream": 512}
_LARGEST_PX = 4096


@dataclass(frozen=True)
class Imagining:
    """What `imagine` made, and where it wrote it.

    Attributes:
        folder: holds the page and the pictures.
        method: maximise, invert or dream.
        names: of the pictures: the classes that were maximised, otherwise the method.
        layer: whose code or norm it was; None for a class.
        made: the images.
    """

    folder: Path
    method: Method
    names: tuple[str, ...]
    layer: str | None
    made: tuple[Imagined, ...]

    @property
    def files(self) -> list[Path]:
        """The file of each picture."""
        return [self.folder / f"{name}.png" for name in file_names(self.names)]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes; of several classes the numbers are in `pictures` alone."""
        of_class, compares = self.method == "maximise", self.method == "invert"
        pictures = [
            {
                "class": name if of_class else None,
                "value_before": None if compares else own.before,
                "value_after": None if compares else own.after,
                "distance_before": own.before if compares else None,
                "distance_after": own.after if compares else None,
                "file": str(file),
            }
            for name, own, file in zip(self.names, self.made, self.files, strict=True)
        ]
        numbers = {key: value if len(pictures) == 1 else None for key, value in pictures[0].items()}
        del numbers["file"]
        return {
            "method": self.method,
            "class": numbers.pop("class"),
            "layer": self.layer,
            **numbers,
            "pictures": pictures,
            "files": [str(file) for file in self.files],
            "out": str(self.folder),
        }


def imagine(
    weights: str | Path,
    *,
    method: Method = "maximise",
    label: str | None = None,
    box: Sequence[float] | None = None,
    image: str | Path | None = None,
    layer: str | None = None,
    size_px: int | None = None,
    changes: dict[str, Any] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    allow_custom: bool = False,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Imagining:
    """Make images that show what a detector or classifier looks for, and a page with them.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        method: maximise makes the image whose logit of a class is highest, invert one with the same code at a
            layer as a given image, dream a given image with more of what a layer sees in it.
        label: the class by name, for maximise; None makes an image of each.
        box: corner box of the region whose logit is maximised, in pixels of the image that is made; None
            takes the middle of it. A model of whole images does not look where it is.
        image: an image file, for invert and dream.
        layer: name of a module, for invert and dream; None takes the last stage of the backbone.
        size_px: the longer side of the image that is made; None takes that of the square that a classifier
            looks at, otherwise 256, and for dream 512.
        changes: fields of `detkit.explain.imagine.Recipe` that differ from the method's own, by name.
        seed: of noise and jitter.
        out: folder for the page and pictures, new or empty; None takes a new one in runs/.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.
        on_step: called with how many steps are done, and how many there are.

    Raises:
        UserError: a file cannot be read, the model has no such class or layer or cannot be asked so, or an
            option is none or belongs to another method.
    """
    _require_arguments(method, label, box, image, layer)
    recipe, size = _recipe(method, changes or {}), _size(method, size_px)
    weights = model_path(weights)
    pixels = None if image is None else decode_image(Path(image))
    predictor = build_predictor(weights, device, allow_custom=allow_custom)
    model = predictor.model.requires_grad_(False)
    with number_kept(), predictor.session.threads.of("detection").unit(size**2):
        if pixels is None:
            given, chosen, names = None, None, _classes(predictor, label)
            works = list(_of_classes(predictor, names, size_px, box))
        else:
            given, names = _sized(pixels, size, predictor.session.device), (method,)
            chosen = _layer(model, given, layer)
            works = [partial(invert if method == "invert" else dream, chosen, given)]
        work = key_of(
            "imagine", file_stamp(weights), *map(str, (method, image, layer, names, box, size, recipe, seed))
        )
        steps = _Steps(recipe.steps * len(works), on_step)
        with results_folder(out, "imagine", work) as folder:
            made = tuple(make(recipe, seed, steps) for make in works)
            result = Imagining(folder, method, names, None if chosen is None else chosen.name, made)
            _write(result, predictor, f"{image}, by {weights}" if image else str(weights), given, chosen)
    return result


class _Steps:
    def __init__(self, total: int, on_step: Callable[[int, int], None]) -> None:
        self.done, self.total, self.on_step = 0, total, on_step

    def __call__(self, count: int) -> None:
        self.done += count
        self.on_step(self.done, self.total)


_LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 100_000),
    "octaves": (1, 12),
    "jitter": (0, 1),
    "blur_every": (0, 100_000),
    "lr": (1e-6, 10),
    "blur_px": (0.1, 100),
    "decay": (0, 1e6),
    "alpha": (1, 12),
    "variation": (0, 1e6),
    "clip_norm": (0, 0.99),
    "clip_contribution": (0, 0.99),
}

_NOT_OF_INVERT = ("octaves", "jitter")


def _require_arguments(
    method: Method,
    label: str | None,
    box: Sequence[float] | None,
    image: str | Path | None,
    layer: str | None,
) -> None:
    if method not in METHODS:
        raise UserError(f"method: expected {', '.join(METHODS)}; got {shown(method)}")
    of_class = method == "maximise"
    others = {"image": image, "layer": layer} if of_class else {"class": label, "box": box}
    for name, value in others.items():
        if value is not None:
            whose = "invert and dream" if of_class else "maximise"
            raise UserError(f"{name}: belongs to {whose}; the method is {method}")
    if not of_class and image is None:
        raise UserError(f"image: {method} starts from an image file; name one with --image FILE")
    require_box(box)


def _recipe(method: Method, changes: dict[str, Any]) -> Recipe:
    """Return the method's recipe with the changes asked for."""
    for name, value in changes.items():
        if name not in _LIMITS:
            raise UserError(f"{shown(name)}: is no setting; there are {', '.join(_LIMITS)}")
        if method == "invert" and name in _NOT_OF_INVERT:
            raise UserError(f"{name}: belongs to maximise and dream; invert compares place by place")
        _require_within(name, value, *_LIMITS[name])
    return replace(RECIPES[method], **changes)


def _size(method: Method, size_px: int | None) -> int:
    if size_px is None:
        return _SIZE_PX[method]
    _require_within("size", size_px, SMALLEST_PX, _LARGEST_PX)
    return size_px


def _require_within(name: str, value: float, low: float, high: float) -> None:
    if not (isfinite(value) and low <= value <= high):
        raise UserError(f"{name}: expected a number from {low:g} to {high:g}; got {value}")


def _classes(predictor: Predictor, label: str | None) -> tuple[str, ...]:
    known = predictor.classes
    if label is None:
        return known
    if label not in known:
        guess = nearest(label[:100], known)
        raise UserError(
            f"class: no class {shown(label)}; {guess}the model knows {cut(', '.join(known), 1000)}"
        )
    return (label,)


def _of_classes(
    predictor: Predictor,
    names: Sequence[str],
    wanted_px: int | None,
    box: Sequence[float] | None,
) -> Iterator[Callable[..., Imagined]]:
    """Yield what makes the image of each class."""
    model = predictor.model
    if not isinstance(model, DecidesOnRegions):
        raise UserError(f"maximise: the model says no logit of a given region; {_instead(model)}")
    own_px = model.seen((1, 1))[2]  # 1, but for a classifier, which looks at a square of its own
    size_px = wanted_px or (own_px if own_px > 1 else _SIZE_PX["maximise"])
    size = (size_px, size_px)
    if box is not None and not (box[0] < size_px and box[1] < size_px and box[2] > 0 and box[3] > 0):
        raise UserError(f"box: lies outside the image, which has {size_px} x {size_px} pixels")
    low, high = _MIDDLE * size_px, (1 - _MIDDLE) * size_px
    place = torch.tensor(box or (low, low, high, high), dtype=torch.float32)
    grey = torch.tensor(GREY, dtype=torch.uint8, device=predictor.session.device)
    blank = ImageBatch(grey.view(1, 3, 1, 1).expand(1, 3, *size), (size,), (size,))
    with torch.no_grad():  # a part that cannot say is heard of before there is a folder
        Subject(model, blank, place, 0).value(blank.pixels)
    for name in names:
        yield partial(maximise, Subject(model, blank, place, predictor.classes.index(name)))


def _sized(pixels: NDArray[np.uint8], size_px: int, device: torch.device) -> Tensor:
    """Return the (1, 3, H, W) normalised image, its longer side as long as asked for."""
    small = fit(pixels, size_px)
    if min(small.shape[:2]) < SMALLEST_PX:
        raise UserError(
            f"image: too narrow: {small.shape[1]} x {small.shape[0]} pixels when its longer side has "
            f"{size_px}; {SMALLEST_PX} are needed, so cut it or take a larger --size"
        )
    return normalised(torch.from_numpy(small).permute(2, 0, 1)[None].to(device))


def _layer(model: nn.Module, given: Tensor, name: str | None) -> Layer:
    if not isinstance(model, ComputesMaps | DecidesOnRegions):
        raise UserError(f"layer: the model is no network with layers to look into; {_instead(model)}")
    return layer_of(model, (given.shape[2], given.shape[3]), name)


def _instead(model: nn.Module) -> str:
    """Return what a model offers that cannot be asked."""
    if isinstance(model, ShowsFilters):
        return "its filters can be looked at: detkit predict --draw writes a picture of each class's"
    if isinstance(model, ComputesMaps):
        return "--method dream and --method invert look into its layers"
    return "detkit explain shows which pixels mattered"


def _write(
    result: Imagining, predictor: Predictor, subtitle: str, given: Tensor | None, layer: Layer | None
) -> None:
    """Write the pictures, and the page."""
    what = {"maximise": "logit", "invert": "distance of the codes", "dream": "norm of the activations"}
    pictures = [] if given is None else [Picture(_image(as_pixels(given)), "the image")]
    for name, own, file in zip(result.names, result.made, result.files, strict=True):
        drawn = _image(own.pixels)
        write_image(file, drawn)
        caption = name if layer is None else f"{name}: {layer.name}"
        pictures.append(
            Picture(drawn, caption, note=f"{what[result.method]} {own.before:.3f} → {own.after:.3f}")
        )
    figures = [Number("method", result.method), Number("pictures", len(result.made))]
    if len(result.made) == 1:
        own = result.made[0]
        figures += [Number(f"{what[result.method]}, before", own.before), Number("after", own.after)]
    curves = tuple(
        Curve(name, np.arange(1, len(own.values) + 1), np.asarray(own.values), own.after)
        for name, own in zip(result.names, result.made, strict=True)
    )
    page = imagined_page(
        "What it looks for" if layer is None else f"What {layer.name} sees",
        subtitle,
        figures,
        [_NOTES[result.method]],
        pictures,
        [] if given is None or layer is None else _activations(layer, given),
        filter_pictures(predictor.model, predictor.classes),
        Plot("What was minimised", "step", curves),
    )
    write_atomically(result.folder / PAGE, page)


_NOTES: dict[Method, str] = {
    "maximise": "Each image was made from noise, so that the network's logit of the class became high. It "
    "shows what raises the logit, not what photographs of the class look like.",
    "invert": "The image was made from noise, so that the layer gives for it what it does for the image. "
    "Where the two differ, the layer does not keep what the image shows.",
    "dream": "The image was changed so that the layer's activations grew: it shows more of what the "
    "layer saw in it.",
}


def _activations(layer: Layer, given: Tensor) -> list[Picture]:
    if not layer.has_maps:
        return []
    with torch.no_grad():
        maps = layer(given)[0].float().cpu().numpy()
    drawn, channels = activation_picture(maps)
    listed = ", ".join(map(str, channels))
    note = f"channels {listed} of {len(maps)}, strongest first, each scaled by itself"
    return [Picture(drawn, f"{layer.name} of the image", note=note)]


def _image(pixels: Tensor) -> NDArray[np.uint8]:
    return np.asarray(pixels[0].permute(1, 2, 0).contiguous().cpu().numpy(), np.uint8)
