"""The plan: an immutable DAG of logical operators over expressions, neutral to any engine.

Everything above speaks of data in these words. The layer imports nothing of umbel and, of the
world, only pyarrow for types.
"""
