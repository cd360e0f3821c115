"""The HTTP server: who may do what, the record of what was done, and the REST API."""
