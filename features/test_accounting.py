"""Binds the scenarios in `features/accounting`."""

from pytest_bdd import scenarios

scenarios("accounting")
