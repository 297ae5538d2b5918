"""Learning over thousands of sites that are not there: one table, divided among them."""
