"""What holds for everything that could be, not for examples only."""
