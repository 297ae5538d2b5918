"""Who belongs to the federation: sites, their certificates, invitations, and what they publish."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from umbel.dataclass import dataclass
from umbel.federation.audit.records import Head
from umbel.federation.errors import IdentityError
from umbel.federation.identity import Certificate, Invitation
from umbel.federation.store.database import Database
from umbel.federation.store.schema import CERTIFICATES, INVITATIONS, SITES

_AGAIN = "ask the coordinator's operator; a new invitation lets the site join again"


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """What is known of a site. Times are seconds since 1970 by the coordinator's clock.

    Attributes:
        name: the site's.
        joined: when it first joined.
        revoked: since when it may not speak any more; None if it may.
        seen: when it last said hello.
        version: of umbel that it runs.
        clock_ahead: seconds by which its clock was ahead.
        round_trip: seconds that a message to the coordinator and back took it.
        manifest: what it publishes, as it said it.
        manifest_at: when it said so.
        audit_seq: the number of the newest record of its audit log that it has shown.
        audit_digest: the digest of that record.
        audit_at: when it has shown it.
    """

    name: str
    joined: float
    revoked: float | None
    seen: float | None
    version: str | None
    clock_ahead: float | None
    round_trip: float | None
    manifest: str | None
    manifest_at: float | None
    audit_seq: int | None = None
    audit_digest: str | None = None
    audit_at: float | None = None


class Members:
    """Sites, certificates and invitations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def invite(self, invitation: Invitation) -> None:
        """Keep an invitation."""
        with self._database.write() as connection:
            connection.execute(
                sa.insert(INVITATIONS).values(
                    id=invitation.id,
                    site=invitation.site,
                    expires=invitation.expires.timestamp(),
                    proof_key=invitation.key,
                )
            )

    def invitation(self, name: str) -> Invitation | None:
        """Give an invitation that was not used yet; None if there is none of that id."""
        query = sa.select(INVITATIONS).where(INVITATIONS.c.id == name, INVITATIONS.c.used.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        expires = datetime.fromtimestamp(row.expires, UTC)
        return Invitation(row.id, row.site, expires, bytes(row.proof_key))

    def join(self, invitation: str, certificate: Certificate) -> None:
        """Record the certificate that an invited site got, and that its invitation was used.

        A site that was revoked and is invited again may speak again, by this certificate only.

        Raises:
            IdentityError: the invitation was used already.
        """
        now = time.time()
        site = certificate.party.name
        use = (
            sa.update(INVITATIONS)
            .where(INVITATIONS.c.id == invitation, INVITATIONS.c.used.is_(None))
            .values(used=now)
        )
        with self._database.write() as connection:
            if connection.execute(use).rowcount != 1:
                raise IdentityError(
                    f"the invitation of {site!r} was used already",
                    hint="ask for a new one: umbel coordinator invite SITE",
                )
            _revoke_certificates(connection, site, now)
            _admit(connection, certificate, now)

    def admit(self, certificate: Certificate) -> None:
        """Record a certificate that was issued without an invitation."""
        with self._database.write() as connection:
            _admit(connection, certificate, time.time())

    def renew(self, certificate: Certificate) -> None:
        """Record the next certificate of a site.

        Raises:
            IdentityError: the site was revoked meanwhile.
        """
        site = certificate.party.name
        query = sa.select(SITES.c.name).where(SITES.c.name == site, SITES.c.revoked.is_(None))
        with self._database.write() as connection:
            if connection.execute(query).first() is None:
                raise IdentityError(f"site {site!r} was revoked", hint=_AGAIN)
            _record(connection, certificate, time.time())

    def check(self, site: str, serial: str) -> None:
        """Refuse a site or a certificate that was revoked, or that we never issued.

        Raises:
            IdentityError: says which.
        """
        query = (
            sa.select(CERTIFICATES.c.revoked, SITES.c.revoked.label("site_revoked"))
            .join(SITES, SITES.c.name == CERTIFICATES.c.site)
            .where(CERTIFICATES.c.serial == serial, CERTIFICATES.c.site == site)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise IdentityError(
                f"this coordinator issued no such certificate to site {site!r}", hint=_AGAIN
            )
        if row.site_revoked is not None:
            raise IdentityError(f"site {site!r} was revoked", hint=_AGAIN)
        if row.revoked is not None:
            raise IdentityError(f"this certificate of site {site!r} was revoked", hint=_AGAIN)

    def revoke(self, site: str) -> bool:
        """Let a site speak no more, with any of its certificates; give whether there is one."""
        now = time.time()
        change = sa.update(SITES).where(SITES.c.name == site, SITES.c.revoked.is_(None))
        with self._database.write() as connection:
            changed = connection.execute(change.values(revoked=now)).rowcount
            _revoke_certificates(connection, site, now)
        return bool(changed)

    def sites(self) -> list[SiteRecord]:
        """Give all sites, by name."""
        with self._database.read() as connection:
            return [_site(row) for row in connection.execute(sa.select(SITES).order_by("name"))]

    def site(self, name: str) -> SiteRecord | None:
        """Give a site; None if there is none of that name."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(SITES).where(SITES.c.name == name)).first()
        return None if row is None else _site(row)

    def saw(
        self, site: str, serial: str, version: str, clock_ahead: float, round_trip: float
    ) -> None:
        """Record that a site said hello; from now on its older certificates hold no more."""
        now = time.time()
        certificates = CERTIFICATES.c
        own = sa.select(certificates.issued).where(certificates.serial == serial).scalar_subquery()
        with self._database.write() as connection:
            connection.execute(
                sa.update(SITES)
                .where(SITES.c.name == site)
                .values(seen=now, version=version, clock_ahead=clock_ahead, round_trip=round_trip)
            )
            connection.execute(
                sa.update(CERTIFICATES)
                .where(
                    certificates.site == site,
                    certificates.revoked.is_(None),
                    certificates.issued < own,
                )
                .values(revoked=now)
            )

    def publish(self, site: str, manifest: str) -> None:
        """Record what a site says that it publishes."""
        self._set(site, manifest=manifest, manifest_at=time.time())

    def show_head(self, site: str, head: Head) -> Head | None:
        """Record the head of a site's audit log.

        Returns:
            None if that is well; or the head that the site has shown before, if that is newer, or
            another record of the same number.
        """
        found = sa.select(SITES.c.audit_seq, SITES.c.audit_digest).where(SITES.c.name == site)
        with self._database.write(durable=False) as connection:
            row = connection.execute(found).first()
            if row is not None and row.audit_seq is not None:
                known = Head(row.audit_seq, row.audit_digest)
                if known.seq > head.seq or (known.seq == head.seq and known != head):
                    return known
            connection.execute(
                sa.update(SITES)
                .where(SITES.c.name == site)
                .values(audit_seq=head.seq, audit_digest=head.digest, audit_at=time.time())
            )
        return None

    def _set(self, site: str, **values: object) -> None:
        with self._database.write(durable=False) as connection:
            connection.execute(sa.update(SITES).where(SITES.c.name == site).values(**values))


def _admit(connection: Connection, certificate: Certificate, now: float) -> None:
    site = certificate.party.name
    known = connection.execute(sa.select(SITES.c.name).where(SITES.c.name == site)).first()
    if known is None:
        connection.execute(sa.insert(SITES).values(name=site, joined=now))
    else:
        connection.execute(sa.update(SITES).where(SITES.c.name == site).values(revoked=None))
    _record(connection, certificate, now)


def _record(connection: Connection, certificate: Certificate, now: float) -> None:
    connection.execute(
        sa.insert(CERTIFICATES).values(
            serial=certificate.serial,
            site=certificate.party.name,
            issued=now,
            expires=certificate.own.not_valid_after_utc.timestamp(),
        )
    )


def _revoke_certificates(connection: Connection, site: str, now: float) -> None:
    connection.execute(
        sa.update(CERTIFICATES)
        .where(CERTIFICATES.c.site == site, CERTIFICATES.c.revoked.is_(None))
        .values(revoked=now)
    )


def _site(row: Row[tuple[object, ...]]) -> SiteRecord:
    return SiteRecord(**row._asdict())


__all__ = ["Members", "SiteRecord"]
