"""Faults on the real system: what `./ftgo chaos` does while orders flow, and how it knows that nothing was lost."""
