"""A person's commands."""
