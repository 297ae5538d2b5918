"""Models that are trained over sites whose rows stay where they are.

What is here works on numbers: states of models, updates, strategies, masks and noise. Where rows
lie and how they get to a trainer is the matter of plans and of the executor.
"""
