"""What works on instances and packets."""
