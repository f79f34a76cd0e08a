"""How a compressed controller is stored and run."""
