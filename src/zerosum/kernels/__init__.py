"""Optional fast implementations: layers, and input gradients without a second backward pass."""
