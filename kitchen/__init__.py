"""The kitchen service: tickets, from an order to a dish that is ready."""
