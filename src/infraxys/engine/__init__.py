"""From snapshots to an executed action: resolve, plan, render, run."""
