from functools import partial
from math import e, log

import pytest
import torch
from torch import sigmoid

from zerosum.game.losses import LOSSES, least_squares_discriminator, least_squares_generator, logistic_discriminator

A, B = (
    torch.tensor([-1.5, 0.0, 0.3, 2.0], dtype=torch.float64),
    torch.tensor([0.7, -2.0, 0.0, 1.1], dtype=torch.float64),
)

CLOSED_FORMS = {
    "minimax": (
        lambda a, b: -torch.log(sigmoid(a)) - torch.log(1 - sigmoid(b)),
        lambda a, b: torch.log(1 - sigmoid(b)),
    ),
    "non-saturating": (
        lambda a, b: -torch.log(sigmoid(a)) - torch.log(1 - sigmoid(b)),
        lambda a, b: -torch.log(sigmoid(b)),
    ),
    "likelihood": (
        lambda a, b: -torch.log(sigmoid(a)) - torch.log(1 - sigmoid(b)),
        lambda a, b: -sigmoid(b) / (1 - sigmoid(b)),
    ),
    "least-squares": (lambda a, b: (a - 1) ** 2 / 2 + b**2 / 2, lambda a, b: (b - 1) ** 2 / 2),
    "wasserstein": (lambda a, b: b - a, lambda a, b: -b),
    "hinge": (lambda a, b: (1 - a).clamp(min=0) + (1 + b).clamp(min=0), lambda a, b: -b),
    "relativistic": (lambda a, b: -torch.log(sigmoid(a - b)), lambda a, b: -torch.log(sigmoid(b - a))),
}


def test_every_loss_has_a_closed_form_here():
    assert CLOSED_FORMS.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_costs_equal_their_closed_forms(name):
    for cost, closed in zip((LOSSES[name].discriminator, LOSSES[name].generator), CLOSED_FORMS[name], strict=True):
        torch.testing.assert_close(cost(A, B), closed(A, B), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_gradients_equal_finite_differences(name, player):
    real, fake = A.clone().requires_grad_(), B.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: getattr(LOSSES[name], player)(a, b) + 0 * (a + b), (real, fake))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("a", [-80.0, 80.0])
@pytest.mark.parametrize("b", [-80.0, 80.0])
def test_costs_and_gradients_are_finite_at_logits_of_80(name, player, a, b):
    real, fake = torch.tensor([a], requires_grad=True), torch.tensor([b], requires_grad=True)
    cost = getattr(LOSSES[name], player)(real, fake)
    gradients = torch.autograd.grad(cost.sum(), (real, fake), allow_unused=True)
    assert torch.isfinite(cost).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", LOSSES)
def test_no_player_is_paid_for_the_others_success(name):
    """G's cost falls as D's score of the fake rises; D's cost rises with it (at labels 0, 1, 1 between them)."""
    real, fake = torch.full((1,), 0.6), torch.full((1,), 0.4, requires_grad=True)
    (descent,) = torch.autograd.grad(LOSSES[name].generator(real, fake).sum(), fake)
    (ascent,) = torch.autograd.grad(LOSSES[name].discriminator(real, fake).sum(), fake)
    assert descent < 0 < ascent


@pytest.mark.parametrize("name", LOSSES)
def test_costs_keep_the_axis_of_patches(name):
    real, fake = torch.randn(5, 3, 3), torch.randn(5, 3, 3)
    assert LOSSES[name].discriminator(real, fake).shape == LOSSES[name].generator(real, fake).shape == (5, 3, 3)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.uses_real])
def test_games_that_do_not_use_real_scores_ignore_them(name):
    nowhere = torch.full_like(B, torch.nan)
    assert torch.isfinite(LOSSES[name].generator(nowhere, B)).all()


@pytest.mark.parametrize(
    ("name", "at_equilibrium"), [("minimax", 2 * log(2)), ("relativistic", log(2)), ("hinge", 2.0)]
)
def test_the_discriminator_pays_the_known_price_where_it_cannot_tell(name, at_equilibrium):
    zero = torch.zeros(1, dtype=torch.float64)
    assert LOSSES[name].discriminator(zero, zero).item() == pytest.approx(at_equilibrium, abs=1e-12)


def test_one_sided_smoothing_is_the_cross_entropy_with_a_softer_real_label():
    smoothed = logistic_discriminator(A, B, smoothing=0.1)
    expected = -0.9 * torch.log(sigmoid(A)) - 0.1 * torch.log(1 - sigmoid(A)) - torch.log(1 - sigmoid(B))
    torch.testing.assert_close(smoothed, expected, rtol=1e-12, atol=1e-12)


def test_the_best_score_of_data_under_smoothing_is_its_label():
    scores = torch.linspace(0.5, 0.999, 5000, dtype=torch.float64)
    nothing = torch.full_like(scores, -50.0)
    best = scores[logistic_discriminator(torch.logit(scores), nothing, smoothing=0.1).argmin()]
    assert best.item() == pytest.approx(0.9, abs=1e-3)


def test_least_squares_labels_and_their_smoothing():
    cost = least_squares_discriminator(A, B, a=-1.0, b=1.0, smoothing=0.25)
    torch.testing.assert_close(cost, (A - 0.5) ** 2 / 2 + (B + 1) ** 2 / 2)
    torch.testing.assert_close(least_squares_generator(A, B, c=0.0), B**2 / 2)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-1.0, 1.0)])
def test_the_best_least_squares_score_mixes_the_labels_as_the_densities(a, b):
    p, q = 0.3, 0.7
    scores = torch.linspace(-2, 2, 40_001, dtype=torch.float64)
    cost = partial(least_squares_discriminator, a=a, b=b)
    on_data, on_fakes = cost(scores, torch.full_like(scores, a)), cost(torch.full_like(scores, b), scores)
    best = scores[(p * on_data + q * on_fakes).argmin()]
    assert best.item() == pytest.approx((b * p + a * q) / (p + q), abs=1e-4)


def test_the_likelihood_cost_is_the_density_ratio_of_the_best_discriminator():
    ratio = torch.tensor([0.1, 1.0, e], dtype=torch.float64)  # p/q, and D* = p/(p+q)
    torch.testing.assert_close(LOSSES["likelihood"].generator(ratio, torch.logit(ratio / (1 + ratio))), -ratio)


def test_scores_are_probabilities_just_where_the_game_is_logistic():
    assert {name for name, loss in LOSSES.items() if loss.output == "probability"} == {
        "minimax",
        "non-saturating",
        "likelihood",
    }
    assert LOSSES["minimax"].score(torch.zeros(1)).item() == 0.5
    assert LOSSES["wasserstein"].score(torch.full((1,), 3.0)).item() == 3.0
