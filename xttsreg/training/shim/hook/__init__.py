"""The directory that ``xttsreg exec`` puts first into PYTHONPATH; see `sitecustomize`."""
