"""placeholder, to be written: Packet, Role, Environment, Container, Instance, Workflow models."""
