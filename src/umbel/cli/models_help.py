"""The texts of `umbel models --help`."""

from __future__ import annotations

# The character \b before a paragraph keeps its lines as they are.
MODELS = """See and steer the models that scripts have kept with ub.learn.Registry.

A version is a number, or what it is used for: staging or production.

\b
Examples:
  umbel models list
  umbel models show risk production
  umbel models promote risk 3 production
  umbel models export risk risk.safetensors --version 3
  umbel models plot risk -o curves.svg
  umbel models diagnose rounds/
"""
LIST = """List the models that are kept, or the versions of one."""
SHOW = """Show the card of a version: what it is, what it was made of, and how good it is."""
PROMOTE = """Say that a version is in staging or production; whichever was is not any more."""
COMPARE = """Show the versions of a model with the measures that were kept with each."""
EXPORT = """Write a version as one safetensors file: its numbers, its design, what is known of it.

A FILE whose name ends in .onnx becomes ONNX, of regressions and networks."""
DELETE = """Forget a version that is not in use."""
DIAGNOSE = """Say which parts of a training were broken, poisoned or left behind.

It goes by what the parts gave in each round, which fit(…, journal=FOLDER) has kept. No rows are
read.
"""
PLOT = """Draw how the training of a version went, round by round: a curve for each part, as SVG.

More than ten parts are drawn together, as a band with their median."""
