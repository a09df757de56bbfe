"""Layer 2: places that hold blobs and tags, behind one contract."""
