"""The texts of `umbel code --help`."""

from __future__ import annotations

# The character \b before a paragraph keeps its lines as they are.
CODE = """Sign functions that sites run where their policies trust the author.

A site runs signed code in a process without files and network, and treats what it gives as rows.

\b
Examples:
  umbel code keys --key author.key --name ann
  umbel code sign score.py --entry score --key author.key
  umbel code show score.signed.json
"""
KEYS = """Make an author's key, and show the lines with which a site's policy names it."""
SIGN = """Sign a function of a module: its text, its name and its constants.

Nothing of it is run. What the module needs beside the standard library a site's policy has to name.
"""
SHOW = """Show signed code: the function, who has signed it, and its text.

The exit code is not 0 if it was changed since. Whether its author is trusted, each site says.
"""
