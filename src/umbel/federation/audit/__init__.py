"""The audit log of a site: what was asked of it, what was decided, and what left it."""

from umbel.federation.audit.account import Account
from umbel.federation.audit.anchors import Anchor, Anchors
from umbel.federation.audit.log import AuditLog, audit_folder
from umbel.federation.audit.records import Head, Record
from umbel.federation.audit.verifying import Report, verify

__all__ = [
    "Account",
    "Anchor",
    "Anchors",
    "AuditLog",
    "Head",
    "Record",
    "Report",
    "audit_folder",
    "verify",
]
