"""Where files lie: this machine, object stores, web servers.

Everything else names a file by its path or URL; only here is known how its bytes are reached, and
with which secrets. `umbel.catalog.stores.registry` finds the store of a path.
"""
