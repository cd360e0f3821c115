"""The pages that a person needs to get in: the first administrator, signing in, tokens and sessions."""
