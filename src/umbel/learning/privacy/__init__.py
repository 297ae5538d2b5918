"""Differential privacy of whole sites: clipped updates, noise, and what they cost of a budget."""
