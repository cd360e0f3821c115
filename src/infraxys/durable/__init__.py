"""The durable workflows behind runs: the only package that imports dbos."""
