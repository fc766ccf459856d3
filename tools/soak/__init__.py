"""A long run with short retentions: what grows, and what keeps its size."""
