"""How a compressed controller is found and judged."""
