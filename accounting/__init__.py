"""The accounting service: who may spend, and what has been authorized."""
