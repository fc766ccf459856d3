"""Binds the scenarios in `features/order`."""

from pytest_bdd import scenarios

scenarios("order")
