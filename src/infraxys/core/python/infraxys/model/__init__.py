"""What modules describe their own things by."""
