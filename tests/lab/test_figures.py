from matplotlib import rc_context

from zerosum.lab import figures


def test_figures_do_not_depend_on_the_users_style(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {"framework": figures.framework})
    (plain,) = figures.draw_all(tmp_path / "plain")
    with rc_context({"figure.facecolor": "black", "text.usetex": True}):
        (styled,) = figures.draw_all(tmp_path / "styled")
    assert plain.read_bytes() == styled.read_bytes()
