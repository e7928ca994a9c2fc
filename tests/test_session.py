import numpy as np

import zerosum as zs


def test_six_lines_of_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = zs.train("digits", rounds=20, say=lambda _: None)
    run.sample(64).save("digits.png")
    images = run.sample(1000, seed=1).array
    costs = [line["generator_cost"] for line in run.readings()]
    assert images.shape == (1000, 8, 8, 1)
    assert images.dtype == np.uint8
    assert len(costs) == 1
    assert (tmp_path / "digits.png").stat().st_size > 1000
    assert zs.load("digits").path == run.path
    assert run.modes() is None


def test_a_run_on_a_mixture_counts_its_modes(tmp_path):
    run = zs.train("ring", rounds=2, out=tmp_path, say=lambda _: None)
    facts = run.modes()
    assert facts["of"] == 8
    assert 0 <= facts["found"] <= 8
    assert 0 <= facts["within_3_sigma"] <= 1
