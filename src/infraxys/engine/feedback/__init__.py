"""What actions ask of the server on their standard output, and what they read as its answer."""
