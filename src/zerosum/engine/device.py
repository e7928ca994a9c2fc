"""Where players live, and how their weights lie in memory."""

import re

import torch
from torch import nn

from zerosum.config.settings import Config
from zerosum.engine.precision import master_dtype
from zerosum.engine.world import SINGLE, World
from zerosum.errors import ConfigError


def best_device() -> str:
    """`cuda` where there is one, else `mps`, else `cpu`."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable(device: str) -> str:
    """The device, once a number has been there and back.

    Raises:
        ConfigError: This machine or this torch has no such device.
    """
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, ImportError) as error:
        reason = re.split(r"[.!]\s|[.!]?\n|[.!]$", str(error), maxsplit=1)[0]  # less torch's table of kernels
        raise ConfigError(
            f"train.device = '{device}' cannot be used here: {reason}. The best there is here is {best_device()}"
        ) from None
    return device


def place(config: Config, world: World = SINGLE) -> tuple[torch.device, torch.dtype]:
    """The device and the type of the players' weights; of several processes on a GPU, each has one of its own."""
    device = torch.device(config.train.device or "cpu")
    if world.size > 1 and device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    return device, master_dtype(config.train.precision)


def channels_last(net: nn.Module) -> nn.Module:
    """Store the weights of a network's convolutions with channels last, the layout in which they are fastest.

    benchmarks/README.md has the measurement. In float64 nothing is gained.
    """
    weights = [layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    quick = weights and weights[0].dtype != torch.float64
    return net.to(memory_format=torch.channels_last) if quick else net  # type: ignore[call-overload]
