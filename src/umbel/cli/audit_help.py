"""The texts of `--help` of `umbel audit`."""

from __future__ import annotations

AUDIT = """Read and check the audit log of a site.

A site writes down who asked what of it, when and for what, what was decided and by which rule, and
what left. Each record holds the digest of the one before.

\b
Examples:
  umbel audit show
  umbel audit verify /var/lib/umbel/hospital-a
  umbel audit export --output log.parquet
"""

SHOW = """Show what was asked of a site, what was decided, and what left.

\b
Examples:
  umbel audit show
  umbel audit show hospital-a/site.toml --user ann --last 0
  umbel audit show --kind refused --json
"""

VERIFY = """Check that a log is as it was written: no record changed, moved, left out or cut off.

The heads that the coordinator has countersigned lie beside the log; their signatures are checked by
the federation's root certificate. The log's keeper could remove these, too: --head takes what the
coordinator knows. Exit code 1 says that something is wrong.

\b
Examples:
  umbel audit verify
  umbel audit verify copy/audit --root root.pem
  umbel audit verify --head 118:5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592
"""

EXPORT = """Write the log for other tools: JSON lines, CSV or Parquet, by the file's name.

\b
Examples:
  umbel audit export > log.jsonl
  umbel audit export hospital-a --output log.parquet
  umbel audit export --user ann --output ann.csv
"""
