"""Pages for people: what is in the store, and where it comes from."""
