"""Where an action is executed."""
