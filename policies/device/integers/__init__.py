"""The inner step in integers: int8 activations, weights and gradients, int16 sums, stochastic rounding."""
