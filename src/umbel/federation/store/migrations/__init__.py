"""The history of the coordinator's tables, for Alembic; each file is one step."""
