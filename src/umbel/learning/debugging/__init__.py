"""What happened in a training, site by site: how it went, who helped, and what is broken."""
