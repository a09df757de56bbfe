"""``python -m benchmarks``: every measurement there is."""

from benchmarks import startup, training

startup.main()
training.main()
