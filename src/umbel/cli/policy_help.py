"""The texts of `umbel policy --help`."""

from __future__ import annotations

# The character \b before a paragraph keeps its lines as they are.
POLICY = """Write what may leave a site, and see what it means.

A policy is a TOML file of the site's owner. What no clause of it lets out does not leave.

\b
Examples:
  umbel policy check policy.toml
  umbel policy explain policy.toml
  umbel policy test policy.toml --site site.toml --user ann --against "select count(*) from visits"
  umbel policy keys --key owner.key
  umbel policy sign policy.toml --key owner.key
"""
CHECK = """Find what is wrong with a policy: names the line, the key, and what exists.

With --site the tables and columns are looked up too; sources are attached for that.
"""
EXPLAIN = """Say in plain words what may leave, to whom, for what, and what is done beside."""
TEST = """Say whether a question is allowed, by which clause, and if not what would be.

Nothing runs. The exit code is 0 if it is allowed and 12 if it is not.
"""
KEYS = """Make an owner's key, and show the lines with which a site's configuration names it."""
SIGN = """Sign a policy with its owner's key. A wrong policy is not signed.

Give it a higher version with each change: a site takes no older one, and no other of the same.
"""
