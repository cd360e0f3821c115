"""Who calls: accounts, tokens, and the one permission check."""
