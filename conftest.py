"""Fixtures for all tests of the repository."""

import pytest

pytest_plugins = ["tests.support.plugin"]

# An assertion that fails shows its values also where tests share it.
pytest.register_assert_rewrite("features", "shared.testing.sagas", "shared.testing", "shared.tests", "tests")
