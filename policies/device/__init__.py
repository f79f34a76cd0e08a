"""The inner step on a device: without automatic differentiation and in the least memory."""
