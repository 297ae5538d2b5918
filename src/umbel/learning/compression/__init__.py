"""Updates in fewer bytes: fewer bits for each number, or fewer numbers."""
