"""Examples that run: see the README."""
