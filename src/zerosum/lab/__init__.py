"""The laboratory: the theory in closed form, claims that check it numerically, and their figures."""
