"""One plan over sites whose data stays home: coordinator, site agents, identity, transport."""
