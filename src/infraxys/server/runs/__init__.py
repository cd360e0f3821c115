"""Runs: submit, follow, cancel; the record of every execution."""
