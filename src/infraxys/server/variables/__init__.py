"""Variables: named values at projects, environments and containers, and where their secrets are kept."""
