"""Disclosure control: what is done to a result, and kept of it, before it leaves a site."""

from umbel.federation.disclosure.control import DisclosureControl
from umbel.federation.disclosure.ledger import LEDGER, Ledger

__all__ = ["LEDGER", "DisclosureControl", "Ledger"]
