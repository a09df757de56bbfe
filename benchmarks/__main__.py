"""``python -m benchmarks``: every measurement there is."""

from benchmarks import bundles, startup, training

startup.main()
training.main([])
bundles.main()
