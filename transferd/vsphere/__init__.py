"""Everything that touches vSphere (the only importers of pyVmomi).

A package rather than the two files the design starts from, one noun a file: whom to believe (`trust`), the
login and how to call (`session`), what a VM is (`inventory`), its power (`power`), our own snapshots
(`snapshots`). Calls block; asynchronous callers use threads.
"""
