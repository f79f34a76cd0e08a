"""The version of metarl."""

__version__ = "0.1.0"
