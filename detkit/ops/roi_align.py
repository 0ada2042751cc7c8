"""RoIAlign: bilinear samples of a feature map, without rounding (He et al., Mask R-CNN, ICCV 2017)."""

from __future__ import annotations
import torch
from torch import Tensor
from torchvision.ops import roi_align as tv


def roi_align(
    features: Tensor,
    boxes: Tensor,
    image: Tensor,
    scale: float,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Provisional."""
    if features.device.type != "cpu" or sampling_ratio == 0 or not aligned:
        rois = torch.cat([image[:, None].to(boxes), boxes], 1).to(features.dtype)
        return tv(features, rois, size, scale, sampling_ratio, aligned)
    P, sr = size, sampling_ratio
    f = features.permute(0, 2, 3, 1).contiguous()
    B, H, W, C = f.shape
    b = boxes * scale - 0.5
    n = len(b)
    wh = b[:, 2:] - b[:, :2]
    g = (torch.arange(P * sr) + 0.5) / (P * sr)
    xs = b[:, :1] + g * wh[:, :1]
    ys = b[:, 1:2] + g * wh[:, 1:]

    def w(c, L):
        ok = (c >= -1) & (c <= L)
        c = c.clamp(0, L - 1)
        lo = c.floor().long()
        hi = (lo + 1).clamp(max=L - 1)
        fr = c - lo
        return lo, hi, (1 - fr) * ok, fr * ok

    xl, xh, wl, wh_ = w(xs, W)
    yl, yh, vl, vh = w(ys, H)
    X = torch.stack([xl, xh], -1).view(n, P, 2 * sr)
    WX = torch.stack([wl, wh_], -1).view(n, P, 2 * sr)
    Y = torch.stack([yl, yh], -1).view(n, P, 2 * sr)
    WY = torch.stack([vl, vh], -1).view(n, P, 2 * sr)
    idx = (
        Y[:, :, None, :, None] * W + X[:, None, :, None, :] + image.view(-1, 1, 1, 1, 1) * (H * W)
    ).reshape(n * P * P, -1)
    ww = (WY[:, :, None, :, None] * WX[:, None, :, None, :]).reshape(n * P * P, -1) / (sr * sr)
    o = torch.nn.functional.embedding_bag(idx, f.view(-1, C).float(), per_sample_weights=ww, mode="sum")
    return o.view(n, P, P, C).permute(0, 3, 1, 2)
