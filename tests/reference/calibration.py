"""Random weights that behave like trained ones: outputs differ from place to place, rounding stays small."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual as BlockOfV2
from torchvision.models.mobilenetv3 import InvertedResidual as BlockOfV3
from torchvision.models.resnet import Bottleneck


def calibrate(model: nn.Module, images: list[Tensor]) -> None:
    """Make a random Faster R-CNN of torchvision's find things in these images."""
    for block in model.backbone.body.modules():
        if isinstance(block, Bottleneck):
            # Fifty random layers double a rounding error every few blocks; small branches do not.
            nn.init.constant_(block.bn3.weight, 0.2)
        elif isinstance(block, BlockOfV2 | BlockOfV3) and block.use_res_connect:
            last = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)][-1]
            nn.init.constant_(last.weight, 0.2)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        model(images)
    for norm in norms:
        norm.eval()
        if any(isinstance(block, BlockOfV2 | BlockOfV3) for block in model.backbone.body.modules()):
            # A channel that was all but still in these images must not burst in others.
            assert norm.running_var is not None
            norm.running_var.clamp_(min=0.1 * float(norm.running_var.mean()))
    # Random outputs are nearly the same everywhere; here they differ from place to place.
    rpn, predictor = model.rpn.head, model.roi_heads.box_predictor
    spread_out(model, rpn.cls_logits, 1.0, images)
    spread_out(model, rpn.bbox_pred, 0.1, images)
    spread_out(model, predictor.cls_score, 1.0, images)
    spread_out(model, predictor.bbox_pred, 1.0, images)
    # Most regions are background, so that fewer detections come out than either toolkit reports at most.
    predictor.cls_score.bias.data[0] += 3.0


def spread_out(model: nn.Module, layer: nn.Module, spread: float, images: list[Tensor]) -> None:
    """Scale and shift a layer so that each output has mean 0 and this standard deviation."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _given, out: outputs.append(out))
    with torch.no_grad():
        model(images)
    hook.remove()
    found = torch.cat([out.transpose(0, 1).flatten(1) if out.dim() == 4 else out.T for out in outputs], 1)
    scale = spread / found.std(1).clamp(min=1e-6)
    layer.weight.data *= scale.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.bias.data = -scale * (found.mean(1) - layer.bias.data)
