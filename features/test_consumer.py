"""Binds the scenarios in `features/consumer`."""

from pytest_bdd import scenarios

scenarios("consumer")
