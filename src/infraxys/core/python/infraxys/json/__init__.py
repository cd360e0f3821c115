"""Forms, and the files in JSON that actions work with."""
