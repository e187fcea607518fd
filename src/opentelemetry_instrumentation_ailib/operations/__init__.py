"""The operations: a module each, and the two wrappers that they share."""
