"""Questions that people sign, so that a site knows who asks without believing the coordinator."""
