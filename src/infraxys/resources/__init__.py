"""The Git-backed store: mirrors and snapshots. The only package that imports pygit2 or runs git."""
