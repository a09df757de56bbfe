"""A Python environment that travels: resolved, downloaded, built where needed, and stored.

uv resolves and builds: it evaluates a package's conditions for the target machines, where pip
evaluates them for its own. pip downloads: it knows every kind of index and credential that a user
has configured. Both are programs that are called; neither is imported, and neither is needed for
anything else.
"""
