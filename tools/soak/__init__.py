"""A long run with short retentions: what grows, and what stays as it is."""
