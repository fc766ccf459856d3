"""Binds the scenarios in `features/delivery`."""

from pytest_bdd import scenarios

scenarios("delivery")
