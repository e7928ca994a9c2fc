"""Mixed precision: bfloat16 compute copies of float32 master weights.

    compute   D~(G~(z)), D~(x)      D~ and G~: the players with their matrices W rounded to bfloat16 (8 bits)
    update    W <- W - step         in float32, so that steps below the rounding error are not lost; then round again

A step in which a penalty is due is taken in float32 as a whole, the cost of the game included: input gradients need it.
The engine then calls the player itself (`Engine.update`, `exact`).

A step in which a penalty is due is taken in float32 as a whole, the cost of the game included: input gradients need it.
The engine then calls the player itself (`Engine.update`, `exact`).

Only parameters of linear layers and convolutions are rounded. Everything else, such as scales and statistics of batch
normalization, is shared by player and copy. A checkpoint stores no copy, since it follows from the player.

Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.1; for bfloat16: Kalamkar et al. 2019, arXiv:1905.12322.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

BF16_CAPABILITIES = ("avx512_bf16", "amx_bf16", "bf16")
"""CPU capabilities, as torch names them, any of which makes bfloat16 products fast."""

MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def master_dtype(precision: str) -> torch.dtype:
    """The dtype of the master weights and of the data."""
    return torch.float64 if precision == "float64" else torch.float32


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device has hardware instructions for bfloat16 products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return device.type == "cpu" and any(capabilities.get(name) for name in BF16_CAPABILITIES)


class ComputeCopy(nn.Module):
    """A player with its matrices in bfloat16; inputs and outputs have the dtype of the player's, float32.

    Args:
        player: The master. Parametrized layers (spectral normalization) are shared; autocast rounds them at each use.
    """

    def __init__(self, player: nn.Module) -> None:
        super().__init__()
        master = matrices(player)
        shared = {id(tensor): tensor for tensor in (*player.parameters(), *player.buffers())}
        self.net = deepcopy(player, {key: tensor for key, tensor in shared.items() if key not in map(id, master)})
        self.pairs = list(zip(master, matrices(self.net), strict=True))
        """(master parameter, its bfloat16 copy)."""
        self._player = [player]  # in a list, so that torch does not register it as a submodule
        for _, copy in self.pairs:
            copy.data = copy.data.bfloat16()

    def forward(self, x: Tensor, *conditions: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(x.device.type, torch.bfloat16):
            out: Tensor = self.net(x, *conditions)
        return out.to(x.dtype)

    @torch.no_grad()
    def update(self) -> None:
        """Copy the master weights, rounded to bfloat16."""
        for master, copy in self.pairs:
            copy.copy_(master)

    @torch.no_grad()
    def copy_gradients(self) -> list[nn.Parameter]:
        """Move the copies' gradients to the master parameters; return the player's trainable parameters."""
        for master, copy in self.pairs:
            if master.grad is None or copy.grad is None:
                master.grad = None if copy.grad is None else copy.grad.to(master.dtype)
            else:  # reuse memory: allocating costs more than the arithmetic
                master.grad.copy_(copy.grad)
            copy.grad = None
        return [parameter for parameter in self._player[0].parameters() if parameter.requires_grad]


def matrices(net: nn.Module) -> list[nn.Parameter]:
    """The parameters to round, in a fixed order."""
    layers = [layer for layer in net.modules() if isinstance(layer, MATRICES) and not is_parametrized(layer)]
    return list(dict.fromkeys(parameter for layer in layers for parameter in layer.parameters(recurse=False)))
