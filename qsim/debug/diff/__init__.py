"""The simulator against anything that has numbers."""
