"""Platforms: one folder per engine, found by the entry-point group `umbel.platforms`.

Adding an engine touches its folder and one entry point, no other file. `umbel.platforms.base`
says what an engine must offer.
"""
