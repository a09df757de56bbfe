"""Offline asset bundler and local model registry for XTTS_v2."""

__version__ = "0.1.0"
