"""A store over HTTP, read-only: the Hugging Face hub's surface, an OCI registry's, and pages."""
