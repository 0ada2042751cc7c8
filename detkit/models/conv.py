"""The convolution of all networks here."""

from __future__ import annotations

from torch import Tensor, nn

from detkit.ops.convolution import convolve


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, whose weights get their gradient by `detkit.ops.convolution`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(self.padding, str) or self.padding_mode != "zeros" or self.groups != 1:
            result: Tensor = super()._conv_forward(input, weight, bias)
            return result
        return convolve(input, weight, bias, self.stride, self.padding, self.dilation)
