"""Fixtures that every part may use."""

pytest_plugins = ["plugins.access", "plugins.postgres", "plugins.sandbox", "plugins.server", "plugins.accounts"]
