"""Binds the scenarios in `features/kitchen`."""

from pytest_bdd import scenarios

scenarios("kitchen")
