"""Registers the test fixtures; they live in tests/fixtures, one file per outside part."""

import pytest

for part in ("model", "run", "artifact"):
    pytest.register_assert_rewrite(f"registry.testing.{part}_contract")

pytest_plugins = [
    "tests.fixtures.isolation",
    "tests.fixtures.mlflow_stores",
    "tests.fixtures.order",
    "tests.fixtures.postgres",
    "tests.fixtures.reverse_proxy",
    "tests.fixtures.s3",
]
