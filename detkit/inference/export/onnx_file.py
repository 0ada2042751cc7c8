"""ONNX: a graph in float32, in float16, and quantised to int8; and onnxruntime, which runs it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detkit.errors import UserError
from detkit.inference.export.graph import Arrays, Call, Graph
from detkit.models.norm import FrozenBatchNorm
from detkit.models.roi.decision import fitted_in_float32
from detkit.ops.padded import keeps  # noqa: F401  (registers the operator)

OPSET = 20
_LEAST = -3.0e38  # below any score, and above minus infinity
_LAST_LAYERS = ("cls_logits", "bbox_pred", "cls_score")  # whose outputs are few, and are all that is known


def require_onnx() -> Any:
    """Return onnxruntime.

    Raises:
        UserError: it, or what writes ONNX, is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX needs {error.name}, which is not installed: pip install onnx onnxruntime onnxscript"
        ) from None
    return onnxruntime


def write_onnx(graph: Graph, file: Path, metadata: Mapping[str, str]) -> int:
    """Write a graph as an ONNX file, which runs by the standard's own operators, and return its opset.

    Args:
        graph: the detector.
        file: to write.
        metadata: texts that the file keeps.
    """
    program = graph.exported()
    with warnings.catch_warnings():  # of the exporter's own parts
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            (),
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_shapes=graph.axes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
            custom_translation_table=_translations(),
        )
    assert made is not None
    made.model.metadata_props.update(metadata)
    made.save(str(file), external_data=False)
    return int(made.model.opset_imports[""])


def _translations() -> dict[Any, Callable[..., Any]]:
    """Return what stands in ONNX for the operators that its exporter does not know, or knows wrongly."""
    import onnxscript
    from torchvision import ops  # noqa: F401  (registers its operators)

    op: Any = onnxscript.opset18

    def keeps_in_onnx(boxes, scores, iou: float):  # type: ignore[no-untyped-def]  # read by the exporter
        room = op.Shape(scores, start=1, end=2)
        kept = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            room,
            op.Constant(value_floats=[iou]),
            op.Constant(value_floats=[_LEAST]),
        )
        places = op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)
        ones = op.Expand(op.Constant(value_ints=[1]), op.Shape(kept, start=0, end=1))
        zeros = op.Expand(op.Constant(value_ints=[0]), op.Shape(scores))
        return op.Cast(op.ScatterND(zeros, places, ones), to=9)

    def roi_pool_in_onnx(input, rois, spatial_scale: float, pooled_height: int, pooled_width: int):  # type: ignore[no-untyped-def]
        shape = [pooled_height, pooled_width]
        pooled = op.MaxRoiPool(input, rois, pooled_shape=shape, spatial_scale=spatial_scale)
        return pooled, pooled  # the places of the maxima, which only a gradient needs

    return {
        torch.ops.detkit.keeps.default: keeps_in_onnx,
        torch.ops.torchvision.roi_pool.default: roi_pool_in_onnx,
    }


def halve(model: nn.Module) -> None:
    """Let a network compute in float16; boxes and what was fitted to its features stay in float32.

    Args:
        model: whose frozen norms are folded already, which float16 could not do.
    """
    fitted_in_float32(model.half())
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm) and module.kept is not None:
            for weight, shift in list(module.kept.values()):
                module.kept = {torch.float16: (weight.half(), shift.half())}


def quantise(file: Path, quantised: Path, calibration: Iterable[Arrays]) -> None:
    """Write an ONNX file whose convolutions and matrix products are int8, but for the last layers.

    Args:
        file: in float32.
        quantised: to write.
        calibration: inputs, from which the range of each layer is measured.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest: Iterator[Arrays] = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:
            arrays = next(self.rest, None)
            return None if arrays is None else dict(arrays)

    nodes = onnx.load(file, load_external_data=False).graph.node
    last = [node.name for node in nodes if any(part in name for name in node.input for part in _LAST_LAYERS)]
    logging.disable(logging.WARNING)  # the root logger is told that shapes could be inferred before
    try:
        quantize_static(
            file,
            quantised,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=last,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
    finally:
        logging.disable(logging.NOTSET)


def run_onnx(file: Path) -> Call:
    """Return an ONNX file as a function, on the CPU by onnxruntime, in as many threads as torch has."""
    runtime = require_onnx()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(None, dict(arrays))
