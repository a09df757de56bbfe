"""Places beyond this machine: HTTP downloads, and OCI registries."""
