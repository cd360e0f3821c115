"""Registered repositories: add, list, fetch, remove."""
