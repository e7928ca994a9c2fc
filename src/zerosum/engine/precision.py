"""bfloat16 where a processor multiplies it faster: copies play, and float32 weights learn.

    play      D~(G~(z)), D~(x)      D~ and G~: the players with their matrices W rounded to bfloat16, to 8 bits
    learn     W <- W - step         in float32, so that steps smaller than a rounding are not lost; then round again

Only the weights of linear layers and convolutions are rounded. Everything else, scales and statistics of normalisation
among it, is shared with the player: a buffer that one of them changes is changed for both. A rounded copy follows from
its player, so a checkpoint holds nothing of it.

Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.1; for bfloat16: Kalamkar et al. 2019, arXiv:1905.12322.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Of processors, as torch names them."""

MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def dtype_of(precision: str) -> torch.dtype:
    """The type of the weights that learn, and of the data."""
    return torch.float64 if precision == "float64" else torch.float32


def is_fast(device: torch.device) -> bool:
    """Whether a device has instructions of its own for products in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return device.type == "cpu" and any(capabilities.get(name) for name in INSTRUCTIONS)


class ComputeCopy(nn.Module):
    """A player with its matrices in bfloat16; takes and gives what the player does, in float32.

    Args:
        player: The one it follows. A layer whose weight is computed (spectral normalisation) is rounded at each use.
    """

    def __init__(self, player: nn.Module) -> None:
        super().__init__()
        exact = matrices(player)
        shared = {id(tensor): tensor for tensor in (*player.parameters(), *player.buffers())}
        self.net = deepcopy(player, {key: tensor for key, tensor in shared.items() if key not in map(id, exact)})
        self.pairs = list(zip(exact, matrices(self.net), strict=True))
        """(the player's matrix, its copy here)."""
        self._player = [player]  # in a list, so that it is no part of this module
        for _, near in self.pairs:
            near.data = near.data.bfloat16()

    def forward(self, x: Tensor, *conditions: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(x.device.type, torch.bfloat16):
            out: Tensor = self.net(x, *conditions)
        return out.to(x.dtype)

    @torch.no_grad()
    def update(self) -> None:
        """Round the player's matrices anew."""
        for exact, near in self.pairs:
            near.copy_(exact)

    @torch.no_grad()
    def copy_gradients(self) -> list[nn.Parameter]:
        """Give the player the gradients that were computed here; all of its parameters that learn."""
        for exact, near in self.pairs:
            if exact.grad is None or near.grad is None:
                exact.grad = None if near.grad is None else near.grad.to(exact.dtype)
            else:  # in the memory of the last one: fresh memory costs more than the arithmetic
                exact.grad.copy_(near.grad)
            near.grad = None
        return [parameter for parameter in self._player[0].parameters() if parameter.requires_grad]


def matrices(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that are rounded, in a fixed order."""
    layers = [layer for layer in net.modules() if isinstance(layer, MATRICES) and not is_parametrized(layer)]
    return list(dict.fromkeys(parameter for layer in layers for parameter in layer.parameters(recurse=False)))
