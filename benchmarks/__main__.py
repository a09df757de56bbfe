"""``python -m benchmarks``: every measurement there is."""

from benchmarks import startup

startup.main()
