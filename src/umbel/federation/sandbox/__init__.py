"""Signed code: whose it is, and where a site runs it without trusting it.

A plan may name a function whose text its author has signed. A site runs it if its policy trusts the
author's key, and then in a process of its own that can read its rows, write its answer, and nothing
else.
"""
