"""Training: the loop, what it writes down, and the rehearsal of both."""
