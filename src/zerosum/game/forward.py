"""Forward passes: how the players are called in a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zerosum.game.engine import Engine
from zerosum.game.penalties import DiscriminatorPass, Samples
from zerosum.game.state import Condition, Game, Term


def call(net: Callable[..., Any], x: Tensor, c: Condition = None) -> Any:
    """G(z, c) or D(x, c); a network without a condition is called with its first argument alone."""
    return net(x) if c is None else net(x, c)


def call_stateless(net: nn.Module, x: Tensor, c: Condition = None) -> Tensor:
    """Call a network without updating its buffers (running statistics of batch normalization and the like)."""
    copies = {name: buffer.clone() for name, buffer in net.named_buffers()}
    if not copies:
        return call(net, x, c)
    out: Tensor = functional_call(net, copies, (x,) if c is None else (x, c))
    return out


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Compute no gradients for a network's own weights while the block runs."""
    learning = [weight for weight in net.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def run_discriminator(
    net: nn.Module,
    real: Samples,
    fake: Samples,
    c: Condition,
    due: list[Term],
    game: Game,
    engine: Engine,
    uniform: Callable[[str, tuple[int, ...]], Tensor],
) -> DiscriminatorPass:
    """Run D on a real and a fake batch; what the penalties that are due need is made ready for them.

    Args:
        net: D.
        real: Data (n, ...).
        fake: Samples (n, ...).
        c: Condition of both, row by row.
        due: The penalties of this round.
        game: Whether D may see real and fake as one batch of 2 n rows.
        engine: D's kernel for logits and input gradients, if there is one.
        uniform: (purpose, shape) -> the uniform numbers that penalties may draw.
    """
    needs = {term.penalty.needs for term in due}
    kernel = engine.input_grad_kernel if game.one_pass and "anything" not in needs else None
    if needs & {"input gradients", "anything"} and not kernel:  # penalties will differentiate by the samples
        real = real.detach().requires_grad_()
        fake = fake if fake.requires_grad else fake.requires_grad_()
    both = (torch.cat([real, fake]), None if c is None else torch.cat([c, c])) if game.one_pass else (None, None)
    grads: Any = None
    if "input gradients" in needs and kernel:
        (real_logits, fake_logits), grads = (tensor.chunk(2) for tensor in kernel(net, *both))
    elif game.one_pass:
        real_logits, fake_logits = call(net, *both).chunk(2)
    else:
        real_logits, fake_logits = call(net, real, c), call(net, fake, c)
    again, elsewhere = partial(call, net, c=c), None if kernel is None else (lambda x: kernel(net, x, c))
    return DiscriminatorPass(real, fake, real_logits, fake_logits, again, uniform, grads, elsewhere, net.parameters)
