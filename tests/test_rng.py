import torch

from zerosum import rng


def test_a_draw_is_a_function_of_its_name_alone():
    first = rng.normal((4, 3), 0, 7, 1, "latent")
    torch.rand(100)
    rng.uniform((5,), 0, 8, 1, "flip")
    assert torch.equal(rng.normal((4, 3), 0, 7, 1, "latent"), first)


def test_every_part_of_the_name_counts():
    seeds = {
        rng.derive_seed(seed, step, inner, purpose)
        for seed in (0, 1) for step in (0, 1) for inner in (0, 1) for purpose in ("latent", "flip")
    }  # fmt: skip
    assert len(seeds) == 16
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_draws_leave_torchs_own_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    rng.normal((100,), 0, "latent")
    assert torch.equal(torch.rand(2), expected)


def test_the_laws_have_their_moments():
    z, u = rng.normal((100_000,), 0, "z"), rng.uniform((100_000,), 0, "u")
    assert abs(z.mean()) < 0.015
    assert abs(z.std() - 1) < 0.01
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005


def test_the_global_state_is_set_by_name_too():
    rng.set_global(0, 1, "generator")
    first = torch.rand(3)
    rng.set_global(0, 2, "generator")
    assert not torch.equal(torch.rand(3), first)
    rng.set_global(0, 1, "generator")
    assert torch.equal(torch.rand(3), first)
