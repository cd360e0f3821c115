"""The files that people write, as models, and what a module holds at one commit."""
