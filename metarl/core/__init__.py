"""Numerics, random streams, clocks, files, validation and text: every room may import them, and they import no room."""
