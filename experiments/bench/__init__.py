"""Measurements of speed and memory, each a ratio of what is measured side by side in one run."""
