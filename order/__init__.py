"""The order service: takes orders and runs the sagas that make them true everywhere."""
