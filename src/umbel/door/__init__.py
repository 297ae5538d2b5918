"""The SQL door: an Arrow Flight SQL server, through which others' tools ask umbel in SQL.

What the door asks of a session is in `backend`; the session's side is `umbel.api.serving`. Calls
come in at `server`, which hands them to `metadata` or to `statements`; `messages` holds the
protocol's messages, `access` who may call, and `failures` what is told of errors. Why Flight SQL:
docs/decisions/0015-sql-door.md.
"""
