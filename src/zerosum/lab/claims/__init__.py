"""The claims: a table of statements about GANs, each of which is checked numerically.

A claim is a function, which computes both sides and whose docstring states the claim and its conditions, and a row with
the closed form, the source and the tolerance. A claim holds if the error is within the tolerance.
"""

from collections.abc import Iterable

from zerosum.errors import UsageError, unknown
from zerosum.lab.claims import (
    costs,
    density,
    divergence,
    games,
    least_squares,
    likelihood,
    lines,
    non_saturating,
    optimum,
    trained,
)
from zerosum.lab.claims.claim import Claim, Measured, Verdict, at_least, at_most, equal

GROUPS = {
    1: "The best discriminator",
    2: "The value of the game",
    3: "Divergences",
    4: "Maximum likelihood",
    5: "One Gaussian for two modes",
    6: "The costs of the generator",
    7: "The non-saturating cost",
    8: "The likelihood cost",
    9: "Least squares",
    10: "Divergences as games",
    11: "Algorithm 1 converges",
    12: "The xy game and equilibria",
    13: "The Dirac-GAN",
    14: "Mode hopping",
    15: "Explicit and implicit density",
}

ROOMS = (optimum, divergence, costs, non_saturating, likelihood, least_squares, games, lines, density, trained)

CLAIMS: dict[str, Claim] = {
    claim.name: claim for group in GROUPS for room in ROOMS for claim in room.CLAIMS if claim.group == group
}


def choose(names: Iterable[str] = (), with_trained: bool = False) -> list[Claim]:
    """Return the claims with the given names or group numbers, in the order of the table.

    Without names, all claims; those for which networks are trained only `with_trained` or if chosen by name.

    Raises:
        UsageError: There is no such claim or group.
    """
    chosen = set(names)
    known = {*CLAIMS, *map(str, GROUPS)}
    for name in chosen - known:
        raise UsageError(unknown("claim", name, known, where="`zerosum list claims`"))
    if not chosen:
        return [claim for claim in CLAIMS.values() if with_trained or not claim.trained]
    return [
        claim
        for claim in CLAIMS.values()
        if claim.name in chosen or (str(claim.group) in chosen and (with_trained or not claim.trained))
    ]


__all__ = ["CLAIMS", "GROUPS", "Claim", "Measured", "Verdict", "at_least", "at_most", "choose", "equal"]
