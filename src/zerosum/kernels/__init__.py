"""Fast layers, and input gradients without a second backward pass: what a network is computed with where it gains."""
