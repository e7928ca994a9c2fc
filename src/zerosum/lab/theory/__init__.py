"""The laboratory: the mathematics of the game, as functions on densities; nothing here trains a network.

quadrature    integrals of densities as sums of masses          divergences   KL, JSD ... and their closed forms
equilibrium   what a game costs for a given D, and the best D   fgan          eight divergences as games
fits          one Gaussian fitted to a mixture of two           tables        Algorithm 1 where G and D are tables
bilinear      the xy game and its remedies                      dirac         the game of one point and one slope
hopping       two modes and one movable point                   latent        models whose density is known

Everywhere p is the law of the data, q that of the samples, a a logit; all numbers are float64.
"""
