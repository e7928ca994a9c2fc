"""Advice: which setting of a run to change for each fault, as options of `zerosum train`."""

from typing import Literal

from zerosum.config.settings import Config


def as_option(key: str, value: float | str) -> str:
    """Format a setting as a command-line option of `zerosum train`: --set KEY=VALUE."""
    return f"--set {key}={value:.3g}" if isinstance(value, float) else f"--set {key}={value}"


def lr(config: Config, player: Literal["generator", "discriminator"]) -> float:
    """Return a player's learning rate."""
    return float(getattr(config.optimizers, player).options.get("lr", 2e-4))


def lower_lr(config: Config, *players: Literal["generator", "discriminator"], by: float = 3.0) -> str:
    """Advise to divide the learning rate of the given players by `by`."""
    return " ".join(as_option(f"optimizers.{player}.lr", lr(config, player) / by) for player in players)


def stronger_penalty(config: Config, weight: float = 1.0) -> str:
    """Advise to add a penalty on D's input gradient of this weight, or to multiply that of the first penalty by ten."""
    if not config.penalties:
        return f"""--set 'penalties=[{{name="r1+r2", weight={weight:g}}}]'"""
    return as_option("penalties.0.weight", 10 * config.penalties[0].weight or weight)


def against_collapse(config: Config) -> str:
    """Advice against mode collapse: penalize D, then use larger batches, so that D sees the missing modes."""
    if config.nets.conditions == "labels":
        return f"{stronger_penalty(config)}, and look whether G's noise reaches its samples"
    bigger = as_option("game.batch", str(2 * config.game.batch))
    return stronger_penalty(config) if not config.penalties else f"{bigger} {lower_lr(config, 'generator')}"


def against_strong_discriminator(config: Config) -> str:
    """Advice against a D that is too strong: a G loss that does not saturate, fewer D steps, or a penalty on D."""
    if config.loss.name == "minimax":
        return "--set loss=non-saturating (its gradient does not vanish where D is confident)"
    if config.game.k > 1:
        return as_option("game.k", "1")
    return stronger_penalty(config) if not config.penalties else lower_lr(config, "discriminator")


def against_weak_discriminator(config: Config) -> str:
    """Advice against a D that is too weak: fewer flipped labels, no weight clipping, a higher lr, or more D steps."""
    if config.game.flip > 0.2:
        return as_option("game.flip", "0.0")
    if config.game.clip is not None:
        return """--set 'penalties=[{name="wgan-gp", weight=10}]' and take game.clip out of the recipe"""
    if lr(config, "discriminator") < lr(config, "generator"):
        return as_option("optimizers.discriminator.lr", lr(config, "generator"))
    return as_option("game.k", str(2 * config.game.k))


def against_overfitting(config: Config) -> str:
    """Advice against a D that over-fits: more training data, a penalty, or a smaller D."""
    width = config.nets.discriminator.get("width")
    smaller = f" {as_option('nets.discriminator.width', str(max(8, width // 4)))}" if isinstance(width, int) else ""
    return f"more training rows, or {stronger_penalty(config, 10.0)}{smaller}"


def against_oscillation(config: Config) -> str:
    """Advice against oscillation: a D at least as fast as G, a penalty on D, and a decaying learning rate."""
    if lr(config, "discriminator") < lr(config, "generator"):
        return as_option("optimizers.discriminator.lr", lr(config, "generator"))
    rest = (
        ""
        if config.schedule.decay != "none"
        else f" --set schedule.decay=cosine --set schedule.end={config.train.rounds}"
    )
    return f"{stronger_penalty(config)}{rest}"


def against_divergence(config: Config) -> str:
    """Advice against divergence: a penalty on D's input gradient, or lower learning rates."""
    if config.loss.name == "wasserstein" and not config.penalties and config.game.clip is None:
        return """--set 'penalties=[{name="wgan-gp", weight=10}]' (a Wasserstein critic needs a bounded gradient)"""
    return lower_lr(config, "generator", "discriminator") if config.penalties else stronger_penalty(config)


def against_memorization(config: Config) -> str:
    """Advice against a G that memorizes training rows: more training data, early stopping, or a smaller D."""
    earlier = max(1, config.train.rounds // 3)
    return f"more training rows; or stop earlier: --rounds {earlier}; or {against_overfitting(config)}"


def against_mismatch(config: Config) -> str:
    """Advice against a range mismatch: declare the range of images, standardize points."""
    return (
        "images: --set 'data.range=[black,white]' with the data's own lowest and highest value, and a G that ends in a "
        "tanh; points: --set data.standardize=true"
    )


def against_blur(config: Config) -> str:
    """Advice against blurred samples: a shorter half-life of G's moving average, or a wider D."""
    if config.ema.half_life > 100_000:
        return as_option("ema.half_life", 10_000.0)
    return "a G without smoothing at its end, and a wider D: --set nets.discriminator.width=256"
