"""What to change: a setting, given those of the run."""

from typing import Literal

from zerosum.config.settings import Config


def option(key: str, value: float | str) -> str:
    """A setting as it is typed after `zerosum train`."""
    return f"--set {key}={value:.3g}" if isinstance(value, float) else f"--set {key}={value}"


def lr(config: Config, player: Literal["generator", "discriminator"]) -> float:
    """A player's step size."""
    return float(getattr(config.optimizers, player).options.get("lr", 2e-4))


def slower(config: Config, *players: Literal["generator", "discriminator"], by: float = 3.0) -> str:
    """Smaller steps for some players."""
    return " ".join(option(f"optimizers.{player}.lr", lr(config, player) / by) for player in players)


def calm(config: Config, weight: float = 1.0) -> str:
    """A penalty on D's slope where there is none; ten times its weight where there is one."""
    if not config.penalties:
        return f"""--set 'penalties=[{{name="r1+r2", weight={weight:g}}}]'"""
    return option("penalties.0.weight", 10 * config.penalties[0].weight or weight)


def against_collapse(config: Config) -> str:
    """D must see more of what G leaves out."""
    if config.nets.conditions == "labels":
        return f"{calm(config)}, and look whether G's noise reaches its samples"
    bigger = option("game.batch", str(2 * config.game.batch))
    return calm(config) if not config.penalties else f"{bigger} {slower(config, 'generator')}"


def against_strong(config: Config) -> str:
    """G must be told more, or D less."""
    if config.loss.name == "minimax":
        return "--set loss=non-saturating (its gradient does not vanish where D is sure)"
    if config.game.k > 1:
        return option("game.k", "1")
    return calm(config) if not config.penalties else slower(config, "discriminator")


def against_weak(config: Config) -> str:
    """D must be able to learn, and to keep up."""
    if config.game.flip > 0.2:
        return option("game.flip", "0.0")
    if config.game.clip is not None:
        return """--set 'penalties=[{name="wgan-gp", weight=10}]' and take game.clip out of the recipe"""
    if lr(config, "discriminator") < lr(config, "generator"):
        return option("optimizers.discriminator.lr", lr(config, "generator"))
    return option("game.k", str(2 * config.game.k))


def against_overfit(config: Config) -> str:
    """D must not be able to know its rows by heart."""
    width = config.nets.discriminator.get("width")
    smaller = f" {option('nets.discriminator.width', str(max(8, width // 4)))}" if isinstance(width, int) else ""
    return f"more training rows, or {calm(config, 10.0)}{smaller}"


def against_oscillation(config: Config) -> str:
    """D must follow G closely, and both must come to rest."""
    if lr(config, "discriminator") < lr(config, "generator"):
        return option("optimizers.discriminator.lr", lr(config, "generator"))
    rest = (
        ""
        if config.schedule.decay != "none"
        else f" --set schedule.decay=cosine --set schedule.end={config.train.rounds}"
    )
    return f"{calm(config)}{rest}"


def against_divergence(config: Config) -> str:
    """D's slope must be bounded, and the steps smaller."""
    if config.loss.name == "wasserstein" and not config.penalties and config.game.clip is None:
        return """--set 'penalties=[{name="wgan-gp", weight=10}]' (Wasserstein's critic needs a bounded slope)"""
    return slower(config, "generator", "discriminator") if config.penalties else calm(config)


def against_memorising(config: Config) -> str:
    """G must not be able to hold its rows."""
    earlier = max(1, config.train.rounds // 3)
    return f"more training rows; or stop earlier: --rounds {earlier}; or {against_overfit(config)}"


def against_mismatch(config: Config) -> str:
    """What the networks see must fill what they can make."""
    return (
        "images: --set 'data.range=[black,white]' with the data's own lowest and highest value, and a G that ends in a "
        "tanh; points: --set data.standardize=true"
    )


def against_blur(config: Config) -> str:
    """D must see the detail, and the average must not smear it."""
    if config.ema.half_life > 100_000:
        return option("ema.half_life", 10_000.0)
    return "a G without smoothing at its end, and a wider D: --set nets.discriminator.width=256"
