"""How a player moves along its gradient, and how its step size changes from round to round.

A schedule is a pure function of the absolute round: a run that is extended later follows the same curve as one that was
long from the start.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import cos, isclose, pi, sqrt
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Optimizer, RMSprop

from zerosum.config.settings import Fraction, Rate, Schedule


def adam(
    parameters: Iterable[Parameter],
    *,
    lr: Rate = 2e-4,
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.0, 0.99),
    epsilon: Rate = 1e-8,
) -> Optimizer:
    """Adam, without decay of weights.

    Args:
        parameters: Of one player.
        lr: Step size.
        betas: Memory of the gradient and of its square; no memory of the gradient, since the opponent moves.
        epsilon: Added to the root of the second.

    Source: Kingma & Ba 2015, arXiv:1412.6980; the defaults: Karras et al. 2019, arXiv:1912.04958, appendix B.
    """
    if fused_step_works():
        return Adam(parameters, lr, betas, epsilon)
    return torch.optim.Adam(parameters, lr, betas, epsilon, fused=True)


def fused_step_works() -> bool:
    """Whether this version of torch has the private functions that `Adam` calls, and they do the same.

    Two steps on one number with lr 0.1, betas 1/2 and 3/4, gradients 1 and 0: 1 -> 0.9 -> 0.9 - 0.1 / 3 * sqrt(7 / 3).
    """
    weight = Parameter(torch.ones(1))
    try:
        optimizer = Adam([weight], lr=0.1, betas=(0.5, 0.75), epsilon=0.0)
        for gradient in (1.0, 0.0):
            weight.grad = torch.full((1,), gradient)
            optimizer.step()
    except (AttributeError, TypeError, RuntimeError):
        return False
    return isclose(weight.item(), 0.9 - 0.1 / 3 * sqrt(7 / 3), rel_tol=1e-6)


class Adam(Optimizer):
    """Bit-identical to torch.optim.Adam(fused=True), whose constructor imports torch._dynamo (1.5 s).

    It calls private functions of torch, so `adam` makes one only if `fused_step_works`.
    """

    def __init__(self, parameters: Iterable[Parameter], lr: float, betas: tuple[float, float], epsilon: float) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": epsilon}
        groups = [{"params": list(parameters), **defaults}]
        self.__setstate__({"defaults": defaults, "state": defaultdict(dict), "param_groups": groups})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        (group,) = self.param_groups
        moved = [weight for weight in group["params"] if weight.grad is not None]
        memory = [self.state[weight] or self._begin(weight) for weight in moved]
        if not moved:
            return
        first, second, steps = ([kept[key] for kept in memory] for key in ("exp_avg", "exp_avg_sq", "step"))
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            moved, [weight.grad for weight in moved], first, second, [], steps, lr=group["lr"], beta1=group["betas"][0],
            beta2=group["betas"][1], weight_decay=0.0, eps=group["eps"], amsgrad=False, maximize=False,
        )  # fmt: skip

    step.hooked = True  # type: ignore[attr-defined]  # torch leaves it as it is, then

    def _begin(self, weight: Parameter) -> dict[str, Tensor]:
        kept = {"step": torch.zeros((), device=weight.device)}
        kept |= {key: torch.zeros_like(weight) for key in ("exp_avg", "exp_avg_sq")}
        self.state[weight] = kept
        return kept

    def state_dict(self) -> dict[str, Any]:
        """As torch's."""
        return _without_compiler(Optimizer.state_dict)(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's."""
        _without_compiler(Optimizer.load_state_dict)(self, state_dict)


def _without_compiler(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of torch, less the wrapper that keeps torch's compiler away and has to import it for that."""
    return getattr(method, "__wrapped__", method)


def sgd(parameters: Iterable[Parameter], *, lr: Rate = 0.1, momentum: Fraction = 0.0) -> Optimizer:
    """Gradient descent, with momentum if asked for.

    Args:
        parameters: Of one player.
        lr: Step size.
        momentum: Share of the last step that is kept.
    """
    return SGD(parameters, lr=lr, momentum=momentum)


def rmsprop(
    parameters: Iterable[Parameter], *, lr: Rate = 5e-5, alpha: Fraction = 0.99, epsilon: Rate = 1e-8
) -> Optimizer:
    """Descent along the gradient over the root of the running mean of its square; no memory of the gradient itself.

    Args:
        parameters: Of one player.
        lr: Step size.
        alpha: Memory of the gradient's square.
        epsilon: Added to the root.

    Source: Tieleman & Hinton 2012, lecture 6.5; the lr: Arjovsky et al. 2017, arXiv:1701.07875, Algorithm 1.
    """
    return RMSprop(parameters, lr=lr, alpha=alpha, eps=epsilon)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}


def factor(schedule: Schedule, step: int) -> float:
    """What the step size is multiplied with in a round, counted from 0.

    >>> [round(factor(Schedule(warmup=2, decay="linear", begin=2, end=6), step), 2) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    rise = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    since = max(0, step - schedule.begin)
    length = (schedule.end or 0) - schedule.begin  # of `linear` and `cosine`, above 0
    done = min(1.0, since / length) if length > 0 else 0.0
    fall = {
        "none": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 * (1 + cos(pi * done)),
        "exponential": schedule.factor**since,
    }[schedule.decay]
    return rise * max(schedule.floor, fall)
