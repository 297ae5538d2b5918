"""The mathematics of models: pure functions of a design, of numbers, and of Arrow tables.

Nothing here knows of runs, of engines or of sites. `umbel.models.solvers.solver_of` finds what
trains a design. Needs NumPy (`pip install 'umbel[learn]'`).
"""
