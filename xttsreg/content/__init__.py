"""Layer 1: what is stored. Pure functions and values; no files, no network."""
