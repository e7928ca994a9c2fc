"""What every pair of networks keeps, whatever the shape of the data."""

import jaxtyping
import pytest
import torch
from torch import nn

from zerosum.errors import ConfigError
from zerosum.kernels import with_fast_layers
from zerosum.nets import NETS, ConditionalGenerator, Networks, ProjectionDiscriminator, declared

SIZES, CHANNELS = ((8, 8), (28, 28), (32, 48), (64, 64)), (1, 3, 4)
AT_ONCE = [(1, 8, 8), (3, 8, 8), (4, 8, 8), (1, 28, 28), (3, 32, 48), (4, 64, 64)]
"""Every size and every number of channels; the other pairs are slow."""

IMAGES = [(c, *size) for size in SIZES for c in CHANNELS]
POINTS = [(1,), (2,), (7,)]
LATENT, CLASSES = 5, 3

cases = pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(name, shape, marks=[] if shape in (*AT_ONCE, *POINTS) else pytest.mark.slow)
        for name in NETS
        for shape in (IMAGES + POINTS if name == "mlp" else IMAGES)
    ],
)


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


OPTIONS = [
    *((name, shape, {}) for name in NETS for shape in ((1, 8, 8), (1, 16, 16))),
    ("goodfellow2014", (1, 16, 16), {"dropout": False}),  # with dropout, masks differ from pass to pass
    *(("dcgan", shape, {"normalize": normalize}) for shape in ((1, 8, 9), (3, 17, 9)) for normalize in (True, False)),
]


@pytest.mark.parametrize(("name", "shape", "options"), OPTIONS)
def test_a_discriminator_judges_each_sample_by_itself_in_training_too_where_its_row_says_so(name, shape, options):
    D, x = NETS[name].discriminator(shape, **options).train(), torch.randn(6, *shape)
    for layer in D.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    alone = torch.allclose(D(x)[:2], D(x[:2]), atol=1e-5)
    assert alone == declared(NETS[name].per_sample, shape, **options)


def test_of_networks_of_ones_own_nothing_is_assumed():
    assert Networks(nn.Linear, nn.Linear)[2:4] == (False, False)


def pair_of(name, conditional):
    """(network, its arguments) of both players, with classes or without."""
    shape, z, c = (1, 16, 16), torch.randn(4, LATENT), torch.tensor([0, 1, 2, -1])
    x = torch.randn(4, *shape)
    if not conditional:
        return [(NETS[name].generator(shape, LATENT), (z,)), (NETS[name].discriminator(shape), (x,))]
    G = ConditionalGenerator(NETS[name].generator(shape, LATENT + 2), CLASSES, 2)
    return [(G, (z, c)), (ProjectionDiscriminator(NETS[name].discriminator(shape), CLASSES), (x, c))]


@pytest.fixture
def unchecked():
    """Shapes are not checked: while torch traces, they are no numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_every_network_can_be_traced_and_exported_and_exported_with_fast_layers_too(name, conditional, unchecked):
    for net, args in pair_of(name, conditional):
        expected = net.eval()(*args)
        torch.testing.assert_close(torch.jit.trace(net, args)(*args), expected)
        torch.testing.assert_close(torch.export.export(net, args).module()(*args), expected)
        fast = torch.export.export(with_fast_layers(net), args).module()
        torch.testing.assert_close(fast(*args), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_networks_hold_torchs_own_layers_and_fast_ones_have_the_same_names(name, conditional):
    for net, _ in pair_of(name, conditional):
        homes = {type(layer).__module__.partition(".")[0:3:2] for layer in net.modules()}
        assert {(home, rest.partition(".")[0]) for home, rest in homes} <= {("torch", "nn"), ("zerosum", "nets")}
        names = list(net.state_dict())
        assert list(with_fast_layers(net).state_dict()) == names


@pytest.mark.parametrize("name", [name for name in NETS if name not in ("mlp", "goodfellow2014")])
@pytest.mark.parametrize("shape", [(2,), (1, 7, 28), (1, 28, 4)])
def test_convolutions_refuse_points_and_strips(name, shape):
    for make in (lambda: NETS[name].generator(shape, LATENT), lambda: NETS[name].discriminator(shape)):
        with pytest.raises(ConfigError, match="plays images of at least 8 x 8"):
            make()


@pytest.mark.parametrize("name", NETS)
def test_every_pair_can_be_told_classes_and_unlabelled_rows_say_nothing(name):
    shape = (1, 16, 16)
    G = ConditionalGenerator(NETS[name].generator(shape, LATENT + 2), CLASSES, 2).eval()
    D = ProjectionDiscriminator(NETS[name].discriminator(shape), CLASSES).eval()
    with torch.no_grad():
        D.labels.weight[1:].normal_()
    z, c, unknown = torch.randn(4, LATENT), torch.tensor([0, 1, 2, -1]), torch.full((4,), -1)
    x = G(z, c)
    assert x.shape == (4, *shape)
    torch.testing.assert_close(D(x, unknown), D.net(x))
    assert (D(x, c) - D.net(x))[:3].abs().min() > 0
    D(x, c).sum().backward()
    assert G.labels.weight.grad[1:].abs().sum() > 0
    assert torch.equal(G.labels.weight.grad[0], torch.zeros(2))


@pytest.mark.parametrize("name", [name for name in NETS if name != "goodfellow2014"])
def test_spectral_normalisation_leaves_no_matrix_stretching(name):
    D = NETS[name].discriminator((1, 16, 16), spectral=True)
    with torch.no_grad():
        for _ in range(60):  # power iterations
            D(torch.randn(2, 1, 16, 16))
    for layer in D.eval().modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2) <= 1.05


@cases
def test_the_weights_survive_a_round_trip(pair, name, shape):
    again = NETS[name].generator(shape, LATENT), NETS[name].discriminator(shape)
    for net, copy in zip(pair, again, strict=True):
        copy.load_state_dict(net.state_dict())
    z = torch.randn(2, LATENT)
    with torch.no_grad():
        assert torch.equal(pair[1].eval()(pair[0].eval()(z)), again[1].eval()(again[0].eval()(z)))
