"""Kernels: the same numbers but for rounding, faster. Passes over finished networks, which need no kernel to work.

    with_fast_layers(net)      layers in forms that are fast on a CPU
    input_grad_kernel(D)       D's logits and input gradients without a second backward pass

`build` applies them where `train.kernels = "on"`.
"""

from zerosum.kernels.discriminators import InputGradKernel, input_grad_kernel
from zerosum.kernels.swap import with_fast_layers

__all__ = ["InputGradKernel", "input_grad_kernel", "with_fast_layers"]
