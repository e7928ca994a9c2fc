"""zerosum: generative adversarial networks, trained on your own data.

>>> import zerosum as zs
>>> sorted(zs.LOSSES)[:3]
['hinge', 'least-squares', 'likelihood']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zerosum.data import DATASETS, Data, Mixture
    from zerosum.errors import ZerosumError
    from zerosum.game.losses import LOSSES, Loss
    from zerosum.game.penalties import PENALTIES, DiscriminatorPass, Penalty
    from zerosum.gan import GAN
    from zerosum.nets import NETS
    from zerosum.results import Run, load
    from zerosum.samples import Samples
    from zerosum.session import train

__version__ = "0.1.0"

_HOMES = {
    "zerosum.results": ("Run", "load"),
    "zerosum.session": ("train",),
    "zerosum.gan": ("GAN",),
    "zerosum.data": ("DATASETS", "Data", "Mixture"),
    "zerosum.errors": ("ZerosumError",),
    "zerosum.game.losses": ("LOSSES", "Loss"),
    "zerosum.nets": ("NETS",),
    "zerosum.game.penalties": ("PENALTIES", "DiscriminatorPass", "Penalty"),
    "zerosum.samples": ("Samples",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DATASETS", "GAN", "LOSSES", "NETS", "PENALTIES", "Data", "DiscriminatorPass", "Loss", "Mixture", "Penalty", "Run",
    "Samples", "ZerosumError", "load", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import zerosum` alone stays instant."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'zerosum' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
