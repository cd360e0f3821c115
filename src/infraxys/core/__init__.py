"""Files that every action finds in its sandbox."""
