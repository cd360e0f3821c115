"""Accounts over HTTP: signing in, sessions, tokens, users."""
