"""How a player moves along its gradient, and how its step size changes from round to round.

A schedule is a pure function of the absolute round: a run that is extended later follows the same curve as one that was
long from the start.
"""

from collections.abc import Callable, Iterable
from math import cos, pi
from typing import Annotated

from pydantic import Field
from torch.nn import Parameter
from torch.optim import SGD, Adam, Optimizer, RMSprop

from zerosum.schema import Schedule

Momentum = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]


def adam(
    parameters: Iterable[Parameter],
    *,
    rate: Rate = 2e-4,
    betas: Annotated[tuple[Momentum, Momentum], Field(strict=False)] = (0.0, 0.99),
    epsilon: Rate = 1e-8,
) -> Optimizer:
    """Adam, without decay of weights.

    Args:
        parameters: Of one player.
        rate: Step size.
        betas: Memory of the gradient and of its square; no memory of the gradient, since the opponent moves.
        epsilon: Added to the root of the second.

    Source: Kingma & Ba 2015, arXiv:1412.6980; the defaults: Karras et al. 2019, arXiv:1912.04958, appendix B.
    """
    return Adam(parameters, lr=rate, betas=betas, eps=epsilon, fused=True)


def sgd(parameters: Iterable[Parameter], *, rate: Rate = 0.1, momentum: Momentum = 0.0) -> Optimizer:
    """Gradient descent, with momentum if asked for.

    Args:
        parameters: Of one player.
        rate: Step size.
        momentum: Share of the last step that is kept.
    """
    return SGD(parameters, lr=rate, momentum=momentum)


def rmsprop(
    parameters: Iterable[Parameter], *, rate: Rate = 5e-5, memory: Momentum = 0.99, epsilon: Rate = 1e-8
) -> Optimizer:
    """Descent along the gradient over the root of the running mean of its square; no memory of the gradient itself.

    Args:
        parameters: Of one player.
        rate: Step size.
        memory: Of the gradient's square.
        epsilon: Added to the root.

    Source: Tieleman & Hinton 2012, lecture 6.5; the rate: Arjovsky et al. 2017, arXiv:1701.07875, Algorithm 1.
    """
    return RMSprop(parameters, lr=rate, alpha=memory, eps=epsilon)


OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}


def factor(schedule: Schedule, step: int) -> float:
    """What the step size is multiplied with in a round, counted from 0.

    >>> [round(factor(Schedule(warmup=2, decay="linear", begin=2, end=6), step), 2) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    rise = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    since = max(0, step - schedule.begin)
    done = min(1.0, since / (schedule.end - schedule.begin)) if schedule.end else 0.0
    fall = {
        "none": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 * (1 + cos(pi * done)),
        "exponential": schedule.factor**since,
    }[schedule.decay]
    return rise * max(schedule.floor, fall)
