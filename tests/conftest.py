"""Fixtures that every part may use."""

from factories.examples import choose_examples
from factories.localhost import know_localhost

# One that uses another comes behind it.
pytest_plugins = [
    "plugins.postgres",
    "plugins.sandbox",
    "plugins.containers",
    "plugins.server",
    "plugins.shapes",
    "plugins.accounts",
    "plugins.access",
    "plugins.oidc",
    "plugins.openbao",
    "plugins.chromium",
]


def pytest_configure() -> None:
    """Prepare the process of the tests."""
    know_localhost()
    choose_examples()
