"""``python -m benchmarks``: every measurement there is."""

from benchmarks import bundles, scale, serving, startup, training

startup.main()
training.main([])
bundles.main()
serving.main([])
scale.main([])
