"""What every room may use and what uses no other: numerics, random streams, clocks, files, text."""
