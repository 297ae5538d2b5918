"""The site's daemon: dials the coordinator, and runs its tasks under the site's own rules."""

from __future__ import annotations

import os
import threading

from umbel.api.located import written_at
from umbel.api.session import Session
from umbel.federation.audit import AuditLog, audit_folder
from umbel.federation.disclosure import LEDGER, DisclosureControl, Ledger
from umbel.federation.errors import IdentityError
from umbel.federation.execution import SiteExecution
from umbel.federation.publishing import Site
from umbel.federation.signed.people import SignedQuestions
from umbel.federation.site.settings import SiteSettings
from umbel.federation.site_config import read_site
from umbel.federation.warming import warm
from umbel.federation.wire.agent import Agent, AgentConfig

#: Seconds between looks at what is to be done.
_LOOK = 0.05


class SiteProcess:
    """A site that is at work.

    Attributes:
        settings: its configuration.
        site: what it has, and what it publishes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the configuration, attach what it names, and get ready.

        Raises:
            PlanError: the configuration is wrong; names the line and the key.
            SourceError: a source of a table cannot be read.
            IdentityError: the site has not joined, or its certificate is no good or another's.
        """
        self.settings = settings = SiteSettings.read(path)
        with written_at(None):  # there is no script whose line could be shown
            session = Session(progress=False)
            warm(session)
            self.site: Site = read_site(settings.file, session=session)
        config = AgentConfig(
            folder=settings.folder,
            address=settings.coordinator,
            slots=settings.slots,
            spool_bytes=settings.spool_bytes,
            peers=settings.peers,
            listen=settings.listen,
            routes=settings.routes,
        )
        self._audit = AuditLog(audit_folder(settings.folder), settings.name)
        self._ledger = Ledger(settings.folder / LEDGER)
        self._agent = Agent(
            config,
            SiteExecution(
                self.site,
                self._audit,
                disclosure=DisclosureControl(self._ledger),
                identity=lambda: self._agent.signer,
                signed=SignedQuestions(self._ledger),
            ),
            lambda: self.site.manifest().to_json(),
            self._audit,
        )
        if self._agent.site != settings.name:
            raise IdentityError(
                f"{settings.file} is the site {settings.name!r}, "
                f"but the certificate is that of {self._agent.site!r}",
                hint="write the certificate's name, or join with an invitation for this one",
            )
        self._error: BaseException | None = None

    def run(self) -> None:
        """Work until `stop`, or an interrupt.

        Raises:
            IdentityError: this site may not speak any more.
            FederationError: another process speaks for it, or the versions do not fit.
        """
        thread = threading.Thread(target=self._work, name="umbel-agent", daemon=True)
        thread.start()
        try:
            # This thread must run Python code now and then: it is the one that stops queries of
            # Polars, see `umbel.platforms.polars.abort`.
            while thread.is_alive():
                thread.join(_LOOK)
        finally:
            self.stop()
            thread.join()
            self._audit.close()
            self._ledger.close()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop, from any thread; results that are sealed stay for the next start."""
        self._agent.stop()

    def _work(self) -> None:
        try:
            with written_at(None):
                self._agent.run()
        except BaseException as error:  # noqa: BLE001 - raised where `run` was called
            self._error = error


__all__ = ["SiteProcess"]
