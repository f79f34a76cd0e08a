"""What the commands share: parsing, progress, interrupts and tables of the terminal."""
