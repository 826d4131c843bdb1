"""Consumer insight per market."""
