"""One round of each order of play equals a loop written by hand; a player's step leaves the other untouched."""

from copy import deepcopy
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, softplus

from zerosum import rng
from zerosum.build import copy_of
from zerosum.errors import UsageError
from zerosum.game.engine import EAGER, Eager
from zerosum.game.forward import call, call_stateless
from zerosum.game.game import discriminator_step, generator_step, latents, play, update_average
from zerosum.game.losses import LOSSES
from zerosum.game.penalties import PENALTIES, DiscriminatorPass, Penalty, as_penalty
from zerosum.game.state import Game, State, Term
from zerosum.kernels import input_grad_kernel
from zerosum.nets import mlp
from zerosum.nets.conditional import ConditionalGenerator, FastGradientDiscriminator, ProjectionDiscriminator

M, LATENT = 6, 3


def latent(n, seed, *key):
    return rng.normal((n, LATENT), seed, *key, dtype=torch.float64)


def batches(number):
    return rng.normal((M, 2), 99, number, "data", dtype=torch.float64), None


def players():
    generator = nn.Sequential(nn.Linear(LATENT, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    discriminator = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)).double()
    return generator, discriminator


def sgd(net, lr=0.1):
    return torch.optim.SGD(net.parameters(), lr=lr, momentum=0.5)


def state_of(generator, discriminator, move=sgd):
    moves = {"generator": move(generator), "discriminator": move(discriminator)}
    return State(generator, discriminator, copy_of(generator), moves)


def game(loss="non-saturating", **rules):
    return Game(LOSSES[loss], latent, **({"batch": M} | rules))


def z(step, i):
    return latent(M, 0, step, i, "latent")


def assert_same(mine, theirs):
    for ours, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-12)


def test_algorithm_1_as_written_in_the_paper():
    """k = 3 steps up the gradient of V for D, one down log(1 - D(G(z))) for G, on probabilities; three rounds."""
    G, D = players()
    mine = state_of(deepcopy(G), deepcopy(D))
    optimizer_G, optimizer_D = sgd(G), sgd(D)
    prob = lambda x: torch.sigmoid(D(x))  # noqa: E731
    for step in range(3):
        for i in range(3):
            x, _ = batches(step * 3 + i)
            optimizer_D.zero_grad()
            V = (torch.log(prob(x)) + torch.log(1 - prob(G(z(step, i)).detach()))).mean()
            (-V).backward()
            optimizer_D.step()
        optimizer_G.zero_grad()
        torch.log(1 - prob(G(z(step, 3)))).mean().backward()
        optimizer_G.step()
        play(mine, game("minimax", k=3), batches)
    assert_same(mine.discriminator, D)
    assert_same(mine.generator, G)


def test_the_textbooks_pseudocode():
    """Real data, noise, D on -[log D(x) + log(1 - D(G(z)))], new noise, G on -log D(G(z))."""
    G, D = players()
    mine = state_of(deepcopy(G), deepcopy(D))
    optimizer_G, optimizer_D = sgd(G), sgd(D)
    for step in range(3):
        x_real, _ = batches(step)
        loss_D = -(torch.log(torch.sigmoid(D(x_real))) + torch.log(1 - torch.sigmoid(D(G(z(step, 0)).detach())))).mean()
        optimizer_D.zero_grad()
        loss_D.backward()
        optimizer_D.step()
        loss_G = -torch.log(torch.sigmoid(D(G(z(step, 1))))).mean()
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()
        play(mine, game(), batches)
    assert_same(mine.discriminator, D)
    assert_same(mine.generator, G)


def test_the_common_sample_loop():
    """G first, with the target *valid*; then D on the fakes from before G moved, its two terms halved."""
    G, D = players()
    mine = state_of(deepcopy(G), deepcopy(D))
    optimizer_G, optimizer_D = sgd(G), sgd(D)
    valid, fake = torch.ones(M, dtype=torch.float64), torch.zeros(M, dtype=torch.float64)
    for step in range(3):
        real_imgs, _ = batches(step)
        gen_imgs = G(z(step, 0))
        optimizer_G.zero_grad()
        binary_cross_entropy(torch.sigmoid(D(gen_imgs)), valid).backward()
        optimizer_G.step()
        optimizer_D.zero_grad()
        real_loss = binary_cross_entropy(torch.sigmoid(D(real_imgs)), valid)
        fake_loss = binary_cross_entropy(torch.sigmoid(D(gen_imgs.detach())), fake)
        ((real_loss + fake_loss) / 2).backward()
        optimizer_D.step()
        play(mine, game(order="generator-first", reduction="mean"), batches)
    assert_same(mine.discriminator, D)
    assert_same(mine.generator, G)


def test_the_2014_code_moves_both_players_from_one_evaluation():
    G, D = players()
    mine = state_of(deepcopy(G), deepcopy(D))
    optimizer_G, optimizer_D = sgd(G), sgd(D)
    for step in range(3):
        x, _ = batches(step)
        fakes = G(z(step, 0))
        cost_D = 0.5 * (softplus(-D(x)).mean() + softplus(D(fakes)).mean())
        cost_G = softplus(-D(fakes)).mean()
        gradient_D = torch.autograd.grad(cost_D, list(D.parameters()), retain_graph=True)
        gradient_G = torch.autograd.grad(cost_G, list(G.parameters()))
        for net, gradient, optimizer in ((D, gradient_D, optimizer_D), (G, gradient_G, optimizer_G)):
            for parameter, value in zip(net.parameters(), gradient, strict=True):
                parameter.grad = value
            optimizer.step()
        play(mine, game(order="simultaneous", reduction="mean"), batches)
    assert_same(mine.discriminator, D)
    assert_same(mine.generator, G)


def test_the_target_valid_is_the_non_saturating_cost():
    """The sample loop's "negative label" is no setting of its own: BCE of a fake against 1 is -log D."""
    logits = torch.linspace(-30, 30, 61, dtype=torch.float64)
    one_by_one = binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    torch.testing.assert_close(LOSSES["non-saturating"].generator(logits, logits), one_by_one, rtol=0, atol=1e-12)


def test_generator_first_with_several_steps_trains_d_on_fakes_from_before_g_moved():
    G, D = players()
    state = state_of(G, D)
    old = deepcopy(G)
    met = []
    loss = LOSSES["non-saturating"]
    spy = loss._replace(discriminator=lambda real, fake: met.append(fake) or loss.discriminator(real, fake))
    before = [call(deepcopy(D), old(z(0, i))) for i in range(2)]
    play(state, replace(game(order="generator-first", k=2), loss=spy), batches)
    torch.testing.assert_close(met[0], before[0], rtol=0, atol=1e-12)
    assert len(met) == 2
    assert not torch.equal(met[1], before[1])  # D has moved in between, G's fakes are still the old ones


@pytest.mark.parametrize("order", ["discriminator-first", "generator-first", "simultaneous"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_one_pass_through_d_plays_the_same_round_as_two(order, loss, penalty):
    G, D = players()
    rules = game(loss, order=order, penalties=(Term(penalty, PENALTIES[penalty]),))
    two, one = state_of(deepcopy(G), deepcopy(D)), state_of(deepcopy(G), deepcopy(D))
    play(two, rules, batches)
    play(one, replace(rules, one_pass=True), batches)
    assert_same(one.discriminator, two.discriminator)
    assert_same(one.generator, two.generator)


STEEP = {
    "perceptron": lambda: mlp.discriminator((2,), width=5, depth=3),
    "any": lambda: FastGradientDiscriminator(nn.Sequential(nn.Linear(2, 5), nn.Tanh()), 5),
}


def assert_told_and_asked_agree(G, D, rules, met):
    """A round with D's kernel equals one by autograd; returns the shapes of the samples that the kernel was given."""
    told, asked = state_of(deepcopy(G), deepcopy(D)), state_of(deepcopy(G), deepcopy(D))
    play(asked, rules, met)
    kernel = Mock(wraps=input_grad_kernel(told.discriminator))
    play(told, rules, met, Eager(kernel))
    assert_same(told.discriminator, asked.discriminator)
    assert_same(told.generator, asked.generator)
    return [call.args[1].shape for call in kernel.call_args_list]


def term(penalty):
    return Term(penalty, PENALTIES[penalty], 0.3)


def by_autograd(term):
    """The same penalty, which does not say what it needs."""
    return replace(term, penalty=Penalty(term.penalty.function, "anything"))


@pytest.mark.parametrize("order", ["discriminator-first", "generator-first", "simultaneous"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("judge", STEEP)
def test_slopes_that_d_tells_play_the_same_round_as_those_of_autograd(order, loss, penalty, judge):
    rules = game(loss, order=order, penalties=(term(penalty),), one_pass=True)
    assert len(assert_told_and_asked_agree(players()[0], STEEP[judge]().double(), rules, batches)) == 1


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("judge", STEEP)
def test_so_do_those_of_a_d_that_is_told_classes(penalty, judge):
    G = ConditionalGenerator(mlp.generator((2,), LATENT + 2, width=5), 2, 2).double()
    D = ProjectionDiscriminator(STEEP[judge](), 2).double()
    nn.init.normal_(D.labels.weight[1:])
    rules = game(penalties=(term(penalty),), one_pass=True, conditional=True)
    labelled = lambda number: (batches(number)[0], torch.arange(M) % 3 - 1)  # noqa: E731
    assert len(assert_told_and_asked_agree(G, D, rules, labelled)) == 1


def test_two_penalties_ask_each_where_it_wants():
    rules = game(penalties=(term("r1"), term("wgan-gp")), one_pass=True)
    shapes = assert_told_and_asked_agree(players()[0], STEEP["perceptron"]().double(), rules, batches)
    assert shapes == [(2 * M, 2), (M, 2)]


@pytest.mark.parametrize(
    "rules", [{"penalties": (term("r1"),)}, {"penalties": (by_autograd(term("r1")),), "one_pass": True}]
)
def test_a_d_whose_samples_may_depend_on_each_other_and_a_penalty_that_may_read_anything_have_no_kernel(rules):
    assert assert_told_and_asked_agree(players()[0], STEEP["any"]().double(), game(**rules), batches) == []


class Once(torch.autograd.Function):
    """D's logits; the gradients are right and cannot be differentiated: so were those of compiled functions once."""

    @staticmethod
    def forward(ctx, net, x, *weights):
        with torch.enable_grad():
            ctx.inputs = x.detach().requires_grad_(), *weights
            ctx.logits = net(ctx.inputs[0])
        return ctx.logits.detach()

    @staticmethod
    def backward(ctx, grad):
        needed = [tensor for tensor in ctx.inputs if tensor.requires_grad]
        gradients = torch.autograd.grad(ctx.logits, needed, grad.detach(), retain_graph=True, allow_unused=True)
        found = dict(zip(map(id, needed), gradients, strict=True))
        return None, *(found.get(id(tensor)) for tensor in ctx.inputs)


class Compiled(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return Once.apply(self.net, x, *self.net.parameters())


@pytest.mark.parametrize("order", ["discriminator-first", "generator-first", "simultaneous"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("one_pass", [True, False])
def test_a_penalty_that_torch_would_drop_is_refused(order, penalty, one_pass):
    state = state_of(players()[0], Compiled(players()[1]))
    with pytest.raises(UsageError, match="would change nothing"):
        play(state, game(order=order, penalties=(term(penalty),), one_pass=one_pass), batches)
    play(state_of(players()[0], Compiled(players()[1])), game(order=order), batches)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_needs_what_its_row_says(name):
    """Nothing else is known here."""
    x, unknown = torch.ones(3, 2), torch.full((3,), torch.nan)
    needs = PENALTIES[name].needs
    told = (x, x) if needs == "input gradients" else None
    value_and_input_grad = (lambda x: (unknown, x)) if needs == "input gradients elsewhere" else None
    meeting = DiscriminatorPass(
        x, x, unknown, unknown, Mock(), lambda _, shape: torch.rand(shape), told, value_and_input_grad
    )
    assert PENALTIES[name](meeting).isfinite().all()
    meeting.discriminator.assert_not_called()


def test_a_function_alone_may_need_anything():
    assert as_penalty(lambda seen: seen.real_logits).needs == "anything"
    assert as_penalty(PENALTIES["r1"]) is PENALTIES["r1"]


def with_buffers():
    generator = nn.Sequential(nn.Linear(LATENT, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).double()
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 1))
    discriminator = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Tanh(), normed, nn.Flatten(0)).double()
    return state_of(generator, discriminator)


def everything(net):
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    tensors = dict(net.state_dict()) | {f"{name}.grad": value for name, value in gradients.items()}
    return {name: None if value is None else value.clone() for name, value in tensors.items()}


def assert_untouched(before, net):
    after = everything(net)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert (value is None and after[name] is None) or torch.equal(value, after[name]), name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", [None, *PENALTIES])
def test_a_step_of_d_leaves_g_untouched_and_moves_d(loss, penalty):
    state = with_buffers()
    rules = game(loss, penalties=(Term(penalty, PENALTIES[penalty]),) if penalty else ())
    play(state, rules, batches)  # so that gradients are there to be touched
    x, c = batches(1)
    g, d = everything(state.generator), everything(state.discriminator)
    with torch.no_grad():
        fake = call_stateless(state.generator, latents(state, rules, EAGER, x, 0), c)
    discriminator_step(state, rules, EAGER, x, fake, c, 0)
    assert_untouched(g, state.generator)
    assert not torch.equal(d["0.weight"], state.discriminator[0].weight)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_g_leaves_d_untouched_and_moves_g(loss):
    state = with_buffers()
    rules = game(loss)
    play(state, rules, batches)
    x, c = batches(1)
    d, g = everything(state.discriminator), everything(state.generator)
    generator_step(state, rules, EAGER, x, latents(state, rules, EAGER, x, 1), c)
    assert_untouched(d, state.discriminator)
    assert not torch.equal(g["0.weight"], state.generator[0].weight)


def test_in_a_step_of_g_nothing_is_computed_for_the_weights_of_d():
    G, D = players()
    state = state_of(G, D)
    D[2].weight.requires_grad_(False)  # its owner's decision, which stays
    seen = []
    D[0].register_forward_pre_hook(lambda layer, _: seen.append(layer.weight.requires_grad))
    play(state, game(), batches)
    assert seen == [True, True, False]  # real and fake in D's step, fake in G's
    assert [weight.requires_grad for weight in D.parameters()] == [True, True, False, True]


def test_a_lazy_penalty_comes_every_n_rounds_with_n_times_the_weight():
    G, D = players()
    lazy = game(penalties=(Term("r1", PENALTIES["r1"], weight=2.0, every=3),))
    state = state_of(deepcopy(G), deepcopy(D))
    first = [play(state, lazy, batches)[0].costs for _ in range(4)]
    assert ["r1" in terms for terms in first] == [True, False, False, True]
    every = game(penalties=(Term("r1", PENALTIES["r1"], weight=2.0),))
    once = play(state_of(deepcopy(G), deepcopy(D)), every, batches)[0].costs["r1"]
    torch.testing.assert_close(first[0]["r1"], 3 * once)


def test_flipping_every_label_swaps_the_two_logits():
    G, D = players()
    swapped = LOSSES["least-squares"]._replace(discriminator=lambda r, f: LOSSES["least-squares"].discriminator(f, r))
    flipped, by_hand = state_of(deepcopy(G), deepcopy(D)), state_of(deepcopy(G), deepcopy(D))
    play(flipped, game("least-squares", flip=1.0), batches)
    play(by_hand, replace(game(), loss=swapped), batches)
    assert_same(flipped.discriminator, by_hand.discriminator)


def test_the_share_of_flipped_labels_is_the_one_asked_for():
    state = state_of(*players())
    counted = []
    spy = LOSSES["wasserstein"]._replace(discriminator=lambda r, f: counted.append(r.detach() == 1) or f - r)
    state.discriminator = nn.Sequential(Mark(), nn.Linear(1, 1), nn.Flatten(0)).double()
    state.optimizers["discriminator"] = sgd(state.discriminator, 0.0)
    nn.init.ones_(state.discriminator[1].weight)
    nn.init.zeros_(state.discriminator[1].bias)
    rules = replace(game(flip=0.3, batch=20_000), loss=spy)
    real = lambda number: (torch.ones(20_000, 2, dtype=torch.float64), None)  # noqa: E731
    play(state, rules, real)
    assert 1 - counted[0].double().mean().item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)


class Mark(nn.Module):
    """1 for real (all ones), 0 for anything else."""

    def forward(self, x):
        return (x == 1).all(1, keepdim=True).double() + 0 * x[:, :1]


def test_clipping_bounds_every_weight_of_d_and_none_of_g():
    state = state_of(*players())
    play(state, game("wasserstein", clip=0.01), batches)
    assert all(weight.abs().max() <= 0.01 for weight in state.discriminator.parameters())
    assert any(weight.abs().max() > 0.01 for weight in state.generator.parameters())


@pytest.mark.parametrize(("rules", "expected"), [({}, 1), ({"k": 3}, 3), ({"loss": "relativistic", "k": 2}, 3)])
def test_a_round_takes_each_batch_of_data_once_and_in_order(rules, expected):
    taken = []
    state, rules = state_of(*players()), game(**rules)
    watched = lambda number: taken.append(number) or batches(number)  # noqa: E731
    play(state, rules, watched)
    play(state, rules, watched)
    assert taken == list(range(2 * expected))


def test_a_cost_that_uses_real_scores_without_saying_so_shows_at_once():
    wrong = LOSSES["relativistic"]._replace(uses_real=False)
    readings = play(state_of(*players()), replace(game(), loss=wrong), batches)
    assert torch.isnan(readings[-1].costs["cost"])


def test_the_average_halves_the_distance_to_a_resting_generator_in_one_half_life():
    state = state_of(*players())
    for mine in state.average.parameters():
        mine.data.zero_()
    target = [weight.clone() for weight in state.generator.parameters()]
    rules = game(half_life=4.0 * M, ramp=None)
    for _ in range(4):
        state.round += 1
        update_average(state, rules)
    for mine, theirs in zip(state.average.parameters(), target, strict=True):
        torch.testing.assert_close(mine, theirs / 2, rtol=1e-12, atol=0)


def test_without_a_half_life_the_average_is_the_generator_itself_buffers_included():
    state = with_buffers()
    for _ in range(3):
        play(state, game(half_life=0.0), batches)
    for name, value in state.generator.state_dict().items():
        assert torch.equal(value, state.average.state_dict()[name]), name


def test_the_ramp_bounds_the_half_life_by_the_samples_seen():
    state = state_of(*players())
    for mine in state.average.parameters():
        mine.data.zero_()
    state.round = 1
    update_average(state, game(half_life=1e9, ramp=0.5))  # half-life M/2: after M samples a quarter is left
    for mine, theirs in zip(state.average.parameters(), state.generator.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.75 * theirs, rtol=1e-12, atol=0)


def test_a_round_can_be_played_again_dropout_included():
    G, _ = players()
    D = nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1), nn.Flatten(0)).double()
    first, second = state_of(deepcopy(G), deepcopy(D)), state_of(deepcopy(G), deepcopy(D))
    play(first, game(), batches)
    torch.rand(17)  # history that must not matter
    play(second, game(), batches)
    assert_same(first.discriminator, second.discriminator)
    third = state_of(deepcopy(G), deepcopy(D))
    play(third, game(seed=1), batches)
    assert not torch.equal(third.discriminator[0].weight, first.discriminator[0].weight)


def test_readings_hold_no_graph_and_name_every_term_in_order():
    readings = play(state_of(*players()), game(penalties=(Term("r1", PENALTIES["r1"]),)), batches)
    assert [(one.player, list(one.costs)) for one in readings] == [
        ("discriminator", ["cost", "r1", "gradient norm"]),
        ("generator", ["cost", "gradient norm"]),
    ]
    assert not any(value.requires_grad for one in readings for value in one.costs.values())


def test_step_sizes_follow_the_schedule_of_absolute_rounds():
    state = state_of(*players())
    rules = game(schedule=lambda step: [1.0, 0.5, 0.25][step])
    rates = []
    for _ in range(3):
        play(state, rules, batches)
        rates.append(state.optimizers["generator"].param_groups[0]["lr"])
    assert rates == [0.1, 0.05, 0.025]


def test_conditions_reach_both_players():
    class Conditioned(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.layer = nn.Linear(inputs + 1, outputs).double()

        def forward(self, x, c):
            return self.layer(torch.cat([x, c[:, None].double()], 1)).squeeze(1)

    state = state_of(Conditioned(LATENT, 2), Conditioned(2, 1))
    labelled = lambda number: (batches(number)[0], torch.arange(M))  # noqa: E731
    for one_pass in (False, True):
        play(state, game(conditional=True, one_pass=one_pass), labelled)
    assert state.generator.layer.weight.grad[:, -1].abs().sum() > 0
    assert state.discriminator.layer.weight.grad[:, -1].abs().sum() > 0
