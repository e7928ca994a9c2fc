"""The laboratory: the theory in closed form, claims that measure it, and their figures."""
