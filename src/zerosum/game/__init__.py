"""What is played: losses, penalties, the state and the rules of a game, and Algorithm 1."""
