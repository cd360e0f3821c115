"""The audit trail: who did what, when, from where, and with what result. It is called and calls no other part."""
