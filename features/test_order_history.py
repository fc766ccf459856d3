"""Binds the scenarios in `features/order_history`."""

from pytest_bdd import scenarios

scenarios("order_history")
