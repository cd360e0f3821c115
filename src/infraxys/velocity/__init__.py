"""The template engine: text in, text out."""
