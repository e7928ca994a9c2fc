"""The figures of the theory, drawn from the same functions that the claims measure.

Colors are from the color-blind safe palette of Okabe and Ito; lines also differ in their dashes, for black-and-white
print. The letters are those of the documentation: p the data, q the samples, D, z, x, h, g. matplotlib draws them; a
run on images never imports it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from zerosum import build, config
from zerosum.errors import UsageError
from zerosum.files import write
from zerosum.game.losses import LOSSES
from zerosum.lab.claims import costs, divergence, trained
from zerosum.lab.claims.lines import penalized_field
from zerosum.lab.theory import bilinear, dirac, hopping
from zerosum.lab.theory.divergences import jsd, kl
from zerosum.lab.theory.quadrature import float64
from zerosum.plots import default_style
from zerosum.resolved import resolve
from zerosum.training.loop import rounds

DATA, SAMPLES, DISCRIMINATOR, OTHER = "#000000", "#009E73", "#0072B2", "#D55E00"
"""Black: the data; green: the samples; blue: D; vermilion: anything else."""

ROUNDS = (5, 40, 200, 3000)
"""Rounds of the training that figure 1 shows."""


def new_figure(rows: int, columns: int, width: float = 9.0, height: float = 3.2) -> tuple[Figure, Any]:
    """Make a figure; return it and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_all(folder: Path) -> list[Path]:
    """Draw every figure into a folder, as NAME.png; return the paths.

    Raises:
        UsageError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with default_style():
            return [_save(draw(), folder / f"{name}.png") for name, draw in FIGURES.items()]
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or error}") from None


def _save(figure: Figure, path: Path) -> Path:
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    write(path, buffer.getvalue())
    return path


def framework() -> Figure:
    """Diagram of a GAN: z -> G -> fake; fake and x -> D; the objectives and the gradient from D to G."""
    figure, axes = new_figure(1, 1, height=3.4)
    ax = axes[0, 0]
    ax.set(xlim=(0, 10.4), ylim=(0, 3.6))
    ax.axis("off")
    boxes = {
        "z": (0.1, 2.2, "noise $z$"), "G": (2.1, 2.2, "generator\n$G$"), "fake": (4.4, 2.2, "fake\n$G(z)$"),
        "x": (4.4, 0.5, "data\n$x$"), "D": (6.7, 1.35, "discriminator\n$D$"), "p": (9.0, 1.35, "$D(x)$,\n$D(G(z))$"),
    }  # fmt: skip
    for name, (left, low, text) in boxes.items():
        color = {"G": SAMPLES, "fake": SAMPLES, "D": DISCRIMINATOR}.get(name, DATA)
        wide = 1.7 if name in "GD" else 1.2
        ax.add_patch(FancyBboxPatch((left, low), wide, 0.8, boxstyle="round,pad=0.06", fc="white", ec=color, lw=1.8))
        ax.text(left + wide / 2, low + 0.4, text, ha="center", va="center", fontsize=11)
    for start, end in (
        ((1.4, 2.6), (2.0, 2.6)), ((3.9, 2.6), (4.3, 2.6)), ((5.7, 2.5), (6.6, 1.95)),
        ((5.7, 1.0), (6.6, 1.6)), ((8.5, 1.75), (8.9, 1.75)),
    ):  # fmt: skip
        ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color=DATA))
    ax.text(7.55, 0.85, r"raises $\log D(x) + \log(1 - D(G(z)))$", ha="center", color=DISCRIMINATOR, fontsize=10)
    ax.text(2.95, 1.75, r"lowers $\log(1 - D(G(z)))$", ha="center", color=SAMPLES, fontsize=10)
    arc = "arc3,rad=0.25"
    back = FancyArrowPatch(
        (7.5, 2.25), (3.0, 3.1), connectionstyle=arc, arrowstyle="-|>", mutation_scale=14, ls="--", color=OTHER
    )
    ax.add_patch(back)
    ax.text(5.6, 3.35, "gradient, through $D$ and the fake", ha="center", color=OTHER, fontsize=10)
    return figure


@trained.one_thread()
def figure_one() -> Figure:
    """Figure 1 of Goodfellow et al. 2014 from a real training: data, samples, D and the map z -> x, at four rounds."""
    changes = [
        "latent.size=1",
        "latent.distribution=uniform",
        "penalties.0.weight=0.1",
        "train.seed=1",
        'train.device="cpu"',
    ]
    resolved = resolve(config.load("mixture-1d", changes))
    setup = build.assemble(resolved)
    figure, axes = new_figure(1, 4, width=11.0, height=3.4)
    grid = torch.linspace(-5, 5, 400).double()[:, None]
    form, mixture = setup.data.spec, setup.data.mixture
    assert mixture is not None  # of this data set it is known
    played = rounds(setup.state, setup.game, setup.batches, ROUNDS[-1], setup.engine)
    for ax, moment in zip(axes[0], (now for now in played if now.round in ROUNDS), strict=True):
        with torch.no_grad():
            z = torch.linspace(-1, 1, 20_001)[:, None]
            x = torch.from_numpy(form.decode(setup.state.generator(z)))[:, 0]
            seen = setup.state.discriminator(form.encode(grid.float())).double().sigmoid()
        ax.plot(grid, mixture.log_prob(grid).exp(), ":", color=DATA, lw=1.8, label="$p$, the data")
        counts = torch.histc(x, 80, -5, 5).double() / len(x) / (10 / 80)
        centers = torch.linspace(-5, 5, 81).double().unfold(0, 2, 1).mean(1)
        ax.plot(centers, counts.clamp(max=1.0), "-", color=SAMPLES, lw=1.6, label="$q$, the samples")
        ax.plot(grid, seen, "--", color=DISCRIMINATOR, lw=1.6, label="$D(x)$")
        ends = torch.linspace(0, len(z) - 1, 17).long()
        for start, end in zip(z[ends, 0].tolist(), x[ends].tolist(), strict=True):
            ax.annotate(
                "", (end, -0.12), (4.5 * start, -0.42), arrowprops=dict(arrowstyle="-", color="#666666", lw=0.7)
            )
        ax.axhline(-0.12, color=DATA, lw=0.8)
        ax.axhline(-0.42, color=DATA, lw=0.8)
        ax.text(-5.2, -0.12, "$x$", ha="right", va="center")
        ax.text(-5.2, -0.42, "$z$", ha="right", va="center")
        ax.set(xlim=(-5, 5), ylim=(-0.45, 1.05), title=f"round {moment.round:,}", yticks=[0, 0.5, 1], xticks=[])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def best_discriminator() -> Figure:
    """Two densities, the best D for them, and perceptrons trained on 200 and on 20,000 samples."""
    figure, axes = new_figure(1, 1, width=6.5, height=3.6)
    ax, x = axes[0, 0], trained.GRID.points[:, 0]
    p, q = (distribution.log_prob(trained.GRID.points).exp() for distribution in trained.distributions())
    ax.plot(x, p, ":", color=DATA, lw=1.8, label="$p$")
    ax.plot(x, q, "-", color=SAMPLES, lw=1.6, label="$q$")
    ax.plot(x, p / (p + q), "-", color=DISCRIMINATOR, lw=2.4, label="$D^* = p/(p+q)$")
    ax.plot(x, trained.learned_logits(20_000, 0).sigmoid(), "--", color=OTHER, lw=1.6, label="learned from 20,000")
    ax.plot(x, trained.learned_logits(200, 0).sigmoid(), "-.", color="#CC79A7", lw=1.2, label="learned from 200")
    ax.set(xlim=(-5, 5), ylim=(0, 1.02), xlabel="$x$")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def generator_costs() -> Figure:
    """G's costs as functions of D(G(z)), and their derivatives with respect to D's logit."""
    figure, axes = new_figure(1, 2, height=3.6)
    dd = torch.linspace(0.005, 0.995, 300, dtype=torch.float64)
    a = torch.linspace(-6, 3, 300, dtype=torch.float64)
    styles = {"minimax": (":", DATA), "non-saturating": ("-", DISCRIMINATOR), "likelihood": ("--", OTHER)}
    formulas = {"minimax": r"$\log(1-D)$", "non-saturating": r"$-\log D$", "likelihood": r"$-D/(1-D)$"}
    for name, (dash, color) in styles.items():
        label = f"{name}, {formulas[name]}"
        axes[0, 0].plot(dd, LOSSES[name].generator(dd.logit(), dd.logit()), dash, color=color, lw=1.8, label=label)
        axes[0, 1].plot(a, costs.cost_derivative(name, a).abs(), dash, color=color, lw=1.8)
    axes[0, 0].set(ylim=(-8, 6), xlabel="$D(G(z))$", ylabel="cost", title="cost of $G$")
    axes[0, 1].set(
        ylim=(1e-3, 10), yscale="log", xlabel="logit $a(G(z))$", ylabel="|derivative|", title="gradient of the cost"
    )
    axes[0, 1].axvspan(-6, -2, color="#eeeeee", zorder=0)
    axes[0, 1].text(-4, 5, "$D$ is confident", ha="center", fontsize=9)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def one_gaussian() -> Figure:
    """One Gaussian fitted to two modes by each of three divergences."""
    figure, axes = new_figure(1, 3, width=10.0, height=3.0)
    grid, p = divergence.TWO_GRID, divergence.two_modes()
    x = grid.points[:, 0]
    measures = (("KL$(p\\,\\|\\,q)$", kl), ("KL$(q\\,\\|\\,p)$", divergence.reverse_kl), ("JSD$(p, q)$", jsd))
    for ax, (title, measure) in zip(axes[0], measures, strict=True):
        found = divergence.best_fit(measure)
        q = divergence.normal_masses(grid, found.mean, found.std)
        ax.plot(x, p / grid.weights, ":", color=DATA, lw=1.8, label="$p$, the data")
        ax.plot(x, q / grid.weights, "-", color=SAMPLES, lw=1.8, label="$q$, the best Gaussian")
        about = f"{title} = {found.divergence:.3f}\nmean {found.mean:z.2f}, std {found.std:.2f}"
        ax.set(xlim=(-5, 5), title=about, yticks=[], xlabel="$x$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def xy_game() -> Figure:
    """Eight update rules in the game V = x y: 150 steps of size 0.2 from (1, 1)."""
    h, start = 0.2, float64([1.0, 1.0])
    steps: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
        "simultaneous": (partial(bilinear.simultaneous, h=h), 2),
        "alternating": (partial(bilinear.alternating, h=h), 2),
        "extragradient": (partial(bilinear.extragradient, h=h), 2),
        "optimistic": (partial(bilinear.optimistic, h=h), 4),
        "proximal": (partial(bilinear.proximal, h=h), 2),
        "consensus, $g$ = 0.5": (partial(bilinear.consensus, h=h, strength=0.5), 2),
        "in turn, momentum $-1/2$": (partial(bilinear.heavy_ball, h=h, momentum=-0.5, in_turn=True), 4),
        "in turn, momentum $+1/2$": (partial(bilinear.heavy_ball, h=h, momentum=0.5, in_turn=True), 4),
    }
    figure, axes = new_figure(2, 4, width=11.0, height=5.8)
    for ax, (name, (update, size)) in zip(axes.flat, steps.items(), strict=True):
        memory = start if name == "optimistic" else 0 * start
        path = bilinear.trajectory(update, torch.cat([start, memory])[:size], 151)
        factor = bilinear.spectral_radius(update, size)
        ax.plot(path[:, 0], path[:, 1], "-", color=DISCRIMINATOR, lw=0.8)
        ax.plot(*path[0, :2], "o", color=OTHER, ms=6, label="start")
        ax.plot(0, 0, "+", color=DATA, ms=10, mew=1.5, label="equilibrium")
        ax.set(xlim=(-3, 3), ylim=(-3, 3), title=f"{name}\nfactor {factor:.4f}", aspect="equal", xlabel="$x$")
        ax.title.set_fontsize(10)
    axes[0, 0].set_ylabel("$y$")
    axes[1, 0].set_ylabel("$y$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def dirac_portraits() -> Figure:
    """Gradient field of the Dirac-GAN and the trajectory from (1, 1), for several losses and regularizers."""
    minimax = LOSSES["minimax"]
    fields: dict[str, dirac.Field] = {
        "minimax": dirac.field(minimax),
        "non-saturating": dirac.field(LOSSES["non-saturating"]),
        "Wasserstein": dirac.field(LOSSES["wasserstein"]),
        "WGAN-GP, weight 0.3": penalized_field("wgan-gp", 0.3, "wasserstein"),
        "R1, $g$ = 0.3": penalized_field("r1", 0.3),
        "R1 and R2, $g$ = 0.3": penalized_field("r1+r2", 0.3),
        "noise, $s$ = 0.7": dirac.field(minimax, noise=0.7),
        "consensus, $g$ = 0.5": dirac.consensus(dirac.field(minimax), 0.5),
    }
    figure, axes = new_figure(2, 4, width=11.0, height=5.8)
    ticks = torch.linspace(-2, 2, 13, dtype=torch.float64)
    for ax, (name, v) in zip(axes.flat, fields.items(), strict=True):
        arrows = torch.stack([torch.stack([v(torch.stack([x, y])).detach() for x in ticks]) for y in ticks])
        arrows = arrows / arrows.norm(dim=2, keepdim=True).clamp(min=1e-9)
        ax.quiver(ticks, ticks, arrows[..., 0], arrows[..., 1], color="#bbbbbb", scale=22, width=0.006)
        path = dirac.trajectory(v, float64([1.0, 1.0]), 0.1, 500)
        ax.plot(path[:, 0], path[:, 1], "-", color=DISCRIMINATOR, lw=1.0)
        ax.plot(1, 1, "o", color=OTHER, ms=6, label="start")
        ax.plot(0, 0, "+", color=DATA, ms=10, mew=1.5, label="equilibrium")
        ax.set(xlim=(-2, 2), ylim=(-2, 2), title=name, aspect="equal", xlabel=r"$\theta$")
        ax.title.set_fontsize(10)
    axes[0, 0].set_ylabel(r"$\psi$")
    axes[1, 0].set_ylabel(r"$\psi$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def mode_hopping() -> Figure:
    """Mode hopping: theta over the rounds for best responses, steps without and with a penalty, and an unrolled D."""
    figure, axes = new_figure(1, 1, width=8.0, height=3.4)
    ax, n = axes[0, 0], 16
    start = float64([0.5])
    paths = {
        "best responses in turn": (hopping.best_responses(0.5, n), "o-", OTHER),
        "steps of 4, no penalty": (hopping.gradient_steps(0.5, 4.0, 0.0, n), "s--", "#CC79A7"),
        "steps of 4, R1 with $g$ = 0.5": (hopping.gradient_steps(0.5, 4.0, 0.5, n), "^-", DISCRIMINATOR),
        "best response to an unrolled D": (torch.full((n,), hopping.unrolled_theta()).double(), "-", SAMPLES),
    }
    for name, (path, dash, color) in paths.items():
        ax.plot(torch.cat([start, path]), dash, color=color, ms=3, lw=1.1, label=name)
    for mode in (-1, 1):
        ax.axhline(mode, color=DATA, lw=0.8, ls=":")
    ax.set(xlabel="round", ylabel=r"$\theta$, where all of $G$'s mass is", yticks=[-1, 0, 1], xlim=(0, n))
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


def gradients_of_a_strong_d() -> Figure:
    """Size of G's gradient as data and samples move apart and the best D becomes confident."""
    figure, axes = new_figure(1, 1, width=6.5, height=3.6)
    ax, thetas = axes[0, 0], torch.linspace(0.25, 8, 32).tolist()
    for name, dash, color in (
        ("minimax", ":", DATA), ("non-saturating", "-", DISCRIMINATOR), ("likelihood", "--", OTHER)
    ):  # fmt: skip
        gradients = torch.stack([costs.gradient_size(name, theta) for theta in thetas])
        ax.plot(thetas, gradients, dash, color=color, lw=1.8, label=name)
    ax.set(yscale="log", ylim=(1e-5, 20), xlabel=r"distance $\theta$ of the samples", ylabel=r"|d cost / d $\theta$|")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "framework": framework,
    "figure-1": figure_one,
    "best-discriminator": best_discriminator,
    "one-gaussian": one_gaussian,
    "generator-costs": generator_costs,
    "strong-discriminator": gradients_of_a_strong_d,
    "xy-game": xy_game,
    "dirac-gan": dirac_portraits,
    "mode-hopping": mode_hopping,
}
