"""Fixtures that every part may use."""

pytest_plugins = [
    "plugins.postgres",
    "plugins.sandbox",
    "plugins.server",
    "plugins.accounts",
    "plugins.oidc",
    "plugins.chromium",
]
