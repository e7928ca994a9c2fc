"""What every pair of networks keeps, whatever the shape of the data."""

import pytest
import torch

from zerosum.nets import NETS

IMAGES = [(c, h, w) for c in (1, 3, 4) for h, w in ((8, 8), (28, 28), (32, 48), (64, 64))]
SHAPES = [(1,), (2,), (7,), *IMAGES]
LATENT = 5

cases = pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in NETS for shape in SHAPES])


@pytest.fixture
def pair(name, shape):
    return NETS[name].generator(shape, LATENT), NETS[name].discriminator(shape)


@cases
def test_samples_have_the_shape_of_the_data_and_logits_one_row_each(pair, shape):
    G, D = pair
    x = G(torch.randn(3, LATENT))
    assert x.shape == (3, *shape)
    assert D(x).shape[0] == 3
    assert len(shape) == 1 or x.abs().max() <= 1


@cases
def test_every_parameter_gets_a_gradient_and_so_does_the_latent(pair, shape):
    G, D = pair
    z = torch.randn(4, LATENT, requires_grad=True)
    D(G(z)).square().sum().backward()
    for net in pair:
        for key, weight in net.named_parameters():
            assert weight.grad is not None, key
            assert weight.grad.abs().sum() > 0, key
    assert z.grad.abs().sum() > 0


@cases
def test_discriminators_can_be_differentiated_twice(pair, shape):
    _, D = pair
    x = torch.randn(4, *shape, requires_grad=True)
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in D.parameters())


@cases
def test_in_evaluation_each_sample_stands_for_itself(pair, shape):
    G, D = (net.eval() for net in pair)
    z = torch.randn(4, LATENT)
    with torch.no_grad():
        torch.testing.assert_close(G(z)[:2], G(z[:2]))
        torch.testing.assert_close(D(G(z))[:2], D(G(z[:2])))
        assert torch.equal(G(z), G(z))


@pytest.mark.parametrize("name", [name for name, pair in NETS.items() if pair.independent])
def test_a_pair_that_says_so_judges_each_sample_by_itself_in_training_too(name):
    D = NETS[name].discriminator((1, 8, 8)).train()
    x = torch.randn(6, 1, 8, 8)
    torch.testing.assert_close(D(x)[:2], D(x[:2]))


@cases
def test_the_weights_survive_a_round_trip(pair, name, shape):
    again = NETS[name].generator(shape, LATENT), NETS[name].discriminator(shape)
    for net, copy in zip(pair, again, strict=True):
        copy.load_state_dict(net.state_dict())
    z = torch.randn(2, LATENT)
    with torch.no_grad():
        assert torch.equal(pair[1].eval()(pair[0].eval()(z)), again[1].eval()(again[0].eval()(z)))
