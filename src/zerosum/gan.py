"""The Python interface for training your own networks.

gan = zs.GAN(generator, discriminator, loss="hinge").fit(x, rounds=1000)
gan.sample(64)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zerosum import build, config, permission
from zerosum.config.registry import lookup
from zerosum.config.settings import Config
from zerosum.data import Data, from_array, validate
from zerosum.data.loader import batch_loader
from zerosum.engine import SINGLE
from zerosum.errors import ConfigError, UsageError
from zerosum.game.forward import call
from zerosum.game.losses import LOSSES, Loss
from zerosum.game.penalties import PENALTIES, Penalty, PenaltyFunction, as_penalty
from zerosum.game.state import Term
from zerosum.resolved import resolve
from zerosum.samples import Samples
from zerosum.sampling import Sampler
from zerosum.training import loop

HONORED = ("loss", "penalties", "latent", "game", "ema", "optimizers", "schedule")
"""Settings, or groups of them, that `GAN` passes on to the game."""

HONORED_OF_TRAIN = ("seed", "device", "precision", "kernels", "log_every")


class GAN:
    """Trains your own generator and discriminator on your own array, in memory and in this process.

    For several processes, name a pair of networks "my_module:pair" in a recipe, and see docs/scale.md.

    Args:
        generator: z (n, latent) -> samples shaped like the data: images in [-1, 1] as (n, c, h, w), points (n, d).
        discriminator: Samples -> logits, (n,) or (n, patches): no sigmoid at the end.
        loss: A name (`zerosum list losses`) or a `Loss`.
        penalties: Names (`zerosum list penalties`), pairs (name, weight), or functions of a `DiscriminatorPass`.
        latent: Dimension of z.
        per_sample: Whether D's logit of a sample depends on that sample alone (no batch statistics). D then sees real
            and fake as one batch, and penalties on a `zerosum.nets.FastGradientDiscriminator` are fast.
        set: Further settings: {"game.k": 5, "optimizers.generator.lr": 1e-4}, or as on the command line, ["game.k=5"];
            large networks may be faster with {"train.precision": "bfloat16"}.

    Raises:
        ConfigError: A name or a setting is wrong.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: str | Loss = "non-saturating",
        *,
        penalties: Iterable[str | tuple[str, float] | Penalty | PenaltyFunction | Term] = (),
        latent: int = 64,
        per_sample: bool = False,
        set: Sequence[str] | Mapping[str, Any] = (),
    ) -> None:
        name = loss if isinstance(loss, str) else next(iter(LOSSES))
        overrides = [("loss", name), ("latent.size", latent), *(set.items() if isinstance(set, Mapping) else set)]
        with permission.granted(code=Path.cwd()):
            settings = config.check(config.override({"name": "gan"}, overrides))
            refuse_without_effect(settings)
            resolved = resolve(settings)
            self.config, game = resolved.config, resolved.game
            self.game = replace(
                game,
                loss=game.loss if isinstance(loss, str) else loss,
                unsmoothed_cost=game.unsmoothed_cost if isinstance(loss, str) else loss.discriminator,
                penalties=tuple(_term(penalty) for penalty in penalties) or game.penalties,
                one_pass=per_sample,
            )
            shards = SINGLE.shards(game.batch, self.config.game.accumulate)
            self.state = build.state_of(resolved, generator, discriminator, shards)
            self.engine = build.engine_for(self.config, self.state, shards)
        self.readings: list[dict[str, Any]] = []
        """One log line every `train.log_every` rounds."""
        self._data: Data | None = None

    def fit(
        self,
        x: Any,
        labels: Any = None,
        *,
        rounds: int = 2000,
        range: tuple[float, float] | None = None,
        standardize: bool = True,
    ) -> "GAN":
        """Train for `rounds` rounds; a second call continues.

        Args:
            x: Points (n,) or (n, d), or images (n, h, w), (n, h, w, c), (n, c, h, w): array or tensor.
            labels: (n,) classes, stored with the data.
            rounds: Rounds to play now.
            range: Values of black and white in floating-point images.
            standardize: For points: scale the data to mean 0 and standard deviation 1 for the networks.

        Returns:
            This object.

        Raises:
            DataError: The data cannot be trained on.
            UsageError: The networks do not fit the data or each other.
            Diverged: A cost or gradient is not finite.
        """
        data = validate(from_array(x, labels, range=range, held_out=0.0, standardize=standardize))
        self._data = data
        weight = next(self.state.generator.parameters())
        batches = batch_loader(data, self.game.batch, self.game.seed, weight.device, weight.dtype)
        self._check_shapes(batches(0)[0])
        finite_check, log_every = loop.FiniteCheck(), self.config.train.log_every
        last = self.state.round + rounds
        for record in loop.rounds(self.state, self.game, batches, last, self.engine):
            finite_check.add(record)
            if record.round % log_every == 0 or record.round == last:
                finite_check.check()
                self.readings.append(loop.make_log_line(record, self.game, self.engine))
        return self

    def sample(self, n: int, seed: int = 0) -> Samples:
        """Make n samples with the averaged generator.

        Raises:
            UsageError: `fit` was not called yet.
        """
        if self._data is None:
            raise UsageError("this GAN has seen no data yet: call fit first")
        return Sampler(self.state.average, self._data.spec, self.game.latent).draw(n, seed)

    @torch.no_grad()
    def _check_shapes(self, x: torch.Tensor) -> None:
        """Check the output shapes of both networks on one batch before the first round."""
        n = len(x)
        z = self.game.latent(n, 0, "try").to(x)
        try:
            fake = call(build.copy_of(self.state.generator), z)
            logits = call(build.copy_of(self.state.discriminator), x)
        except (RuntimeError, ValueError, TypeError) as error:
            raise UsageError(
                f"a network does not fit z {tuple(z.shape)} or x {tuple(x.shape)} (encoded data): {error}"
            ) from None
        if fake.shape != x.shape:
            raise UsageError(
                f"the generator made {tuple(fake.shape)} from z {tuple(z.shape)}, expected {tuple(x.shape)}"
            )
        if logits.ndim == 0 or len(logits) != n:
            raise UsageError(f"the discriminator gave {tuple(logits.shape)} for {n} samples, expected ({n},) logits")


def refuse_without_effect(settings: Config) -> None:
    """Refuse settings that a training in memory, of your own networks and data, does not use.

    Raises:
        ConfigError: One of them is set.
    """
    before = config.flat(Config(name="gan").model_dump())
    for key, value in config.flat(settings.model_dump()).items():
        group, _, name = key.partition(".")
        honored = group in HONORED or (group == "train" and name in HONORED_OF_TRAIN)
        if not honored and value != before.get(key):
            raise ConfigError(f"{key} = {value!r} has no effect on zs.GAN; a recipe and zs.train know it")


def _term(given: str | tuple[str, float] | Penalty | PenaltyFunction | Term) -> Term:
    if isinstance(given, Term):
        return given
    if isinstance(given, Penalty) or callable(given):
        penalty = as_penalty(given)
        return Term(getattr(penalty.function, "__name__", "penalty"), penalty)
    name, weight = (given, 1.0) if isinstance(given, str) else given
    return Term(name, as_penalty(lookup(PENALTIES, name, "penalty")), weight)
