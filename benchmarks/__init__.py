"""Measurements, each with the command that repeats it: ``python -m benchmarks.NAME``."""
