"""How a site trains: from the state that it is given, and its rows, to an update."""
