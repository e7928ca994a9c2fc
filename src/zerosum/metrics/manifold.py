"""Distances between two sets of samples, and what share of one lies near the other.

Everything is computed in blocks, so that memory grows with one set and not with the product of both.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]
BLOCK = 1024


def nearest(points: Features, others: Others, k: int = 1) -> Float[Tensor, " n"]:
    """Euclidean distance of each point to its k-th nearest among the others.

    Args:
        points: (n, d).
        others: (m, d), m >= k.
        k: Which neighbour; if `others` holds the points themselves, the first is at distance 0.

    >>> nearest(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([1.])
    """
    exact = "donot_use_mm_for_euclid_dist"  # the faster way loses digits where points nearly coincide
    blocks = [torch.cdist(block, others, compute_mode=exact) for block in points.split(BLOCK)]
    return torch.cat([block.kthvalue(k, dim=1).values for block in blocks])


def coverage(real: Features, fake: Others, k: int = 5) -> float:
    """Share of the real points with a fake nearer than their k-th real neighbour.

    Args:
        real: (n, d), n > k.
        fake: (m, d).
        k: Which neighbour, the point itself not counted.

    Returns:
        Between 0 and 1; about 1 - 2^-k for as many fakes of the same law.

    Source: Naeem et al. 2020, arXiv:2002.09797, section 3.

    >>> coverage(torch.arange(4.0)[:, None], torch.tensor([[0.0]]), k=1)
    0.25
    """
    radius = nearest(real, real, k + 1)
    return (nearest(real, fake) < radius).double().mean().item()
