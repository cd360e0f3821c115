"""Fixtures that every part may use."""

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
