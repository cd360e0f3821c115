"""Caches: folders that stay between actions, by instance, container, environment and project."""
