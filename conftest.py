"""Registers the test fixtures; they live in tests/fixtures, one file per outside part."""

pytest_plugins = [
    "tests.fixtures.isolation",
    "tests.fixtures.mlflow_stores",
    "tests.fixtures.postgres",
    "tests.fixtures.s3",
]
