"""Faults on the real system: what `./ftgo chaos` injects while orders flow, and how it checks that nothing was lost."""
