"""Every figure that the documentation quotes, measured beside its peers (`make bench`).

A package, not a bare folder: another distribution (opacus) brings a package of the same name, and
Python prefers any package to a folder.
"""
