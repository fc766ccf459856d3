"""The delivery service: couriers, and how dishes get to consumers."""
