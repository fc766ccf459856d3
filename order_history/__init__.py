"""The order history: what consumers look up about their orders."""
