"""The plugin manager, and our own parts as plugins of the same kind."""
