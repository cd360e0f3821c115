"""Infraxys: the server through which teams run their infrastructure automation."""

__version__ = "0.1.0"
