"""The catalog: finding files, their schemas and statistics, reading and writing them.

Sources and sinks of a plan are descriptions (`umbel.plan.sources`, `umbel.plan.sinks`); here they
meet the disk. Nothing in this layer needs an engine.
"""
