"""The consumer service: who orders, and where to."""
