"""Binds the scenarios in `features/sagas`."""

from pytest_bdd import scenarios

scenarios("sagas")
