"""Binds the scenarios in `features/restaurant`."""

from pytest_bdd import scenarios

scenarios("restaurant")
