"""What the registered branches hold, looked up by id."""
