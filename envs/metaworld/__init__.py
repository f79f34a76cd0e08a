"""Meta-World's benchmarks as task families."""
