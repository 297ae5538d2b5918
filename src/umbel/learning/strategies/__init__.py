"""How the updates of sites become a new state: one file for each strategy, one protocol for all."""
