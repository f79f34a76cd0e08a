"""The paper's published numbers beside those of filed runs."""
