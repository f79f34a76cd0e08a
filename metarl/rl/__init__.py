"""Meta-training of policies by reinforcement learning: MAML-TRPO."""
