"""What a sample looks like: its kind, its shape and its encoding for the networks.

The networks see *encoded* data: images in [-1, 1], points in the data's units or standardized (mean 0, standard
deviation 1). `SampleSpec.decode` inverts the encoding: images to uint8 0..255, points to the data's own units.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kind = Literal["images", "points"]


@dataclass(frozen=True)
class SampleSpec:
    """Kind and shape of a sample, and its encoding for the networks: (x - shift) / scale.

    Args:
        kind: "images" or "points".
        shape: (channels, height, width) of an image, (d,) of a point.
        shift: One number for images, d (or one) for points.
        scale: Likewise; encoded images lie in [-1, 1] whatever their stored range.
        classes: Names of the classes, or None.
    """

    kind: Kind
    shape: tuple[int, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[str, ...] | None = None

    def encode(self, x: Tensor) -> Tensor:
        """Encode stored values (n, *shape) for the networks, in the dtype of x; integers become float32."""
        x = x if x.is_floating_point() else x.float()
        return (x - self._as_tensor(x, self.shift)) / self._as_tensor(x, self.scale)

    def decode(self, x: Tensor) -> NDArray[Any]:
        """Decode the generator's output (n, *shape): images to uint8 (n, h, w, c), points to float32 (n, d)."""
        x = x.detach().cpu().double()
        if self.kind == "images":
            gray = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return gray.permute(0, 2, 3, 1).numpy()
        return (x * self._as_tensor(x, self.scale) + self._as_tensor(x, self.shift)).numpy().astype(np.float32)

    def _as_tensor(self, x: Tensor, numbers: tuple[float, ...]) -> Tensor | float:
        return numbers[0] if len(numbers) == 1 else torch.tensor(numbers, dtype=x.dtype, device=x.device)
