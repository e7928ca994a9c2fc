"""The theory: the mathematics of the game, as functions on densities; nothing here trains a network.

quadrature    integrals of densities as weighted sums           divergences   KL, JSD ... and their closed forms
equilibrium   the expected cost for a given D, and the best D   fgan          eight f-divergences as games
fits          one Gaussian fitted to a mixture of two           tables        Algorithm 1 with tabular G and D
bilinear      the game V = x y and its update rules             dirac         the Dirac-GAN
hopping       mode hopping of a one-point generator             latent        models with a known density

Everywhere p is the data distribution, q that of the samples, a a logit; all numbers are float64.
"""
