"""The coordinator: what it keeps, and what it does for sites, people and tools.

Nothing here knows of HTTP; `umbel.federation.coordinator.app` puts it on the network.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.api.session import Session
from umbel.executor.run_ids import new_id
from umbel.executor.runs import RunStore
from umbel.executor.runs.store import Owned
from umbel.federation.access import LIFE as TOKEN_LIFE
from umbel.federation.access import (
    TOKEN_PREFIX,
    ApiToken,
    Principal,
    Role,
    TokenRecord,
    unknown_token,
)
from umbel.federation.coordinator.intake import read_plan
from umbel.federation.coordinator.questions import Asker, Job, Question, Ways
from umbel.federation.coordinator.runs import Runs
from umbel.federation.coordinator.settings import FILE, TEMPLATE, CoordinatorSettings
from umbel.federation.coordinator.sites import Sites
from umbel.federation.coordinator.spool import Folder
from umbel.federation.coordinator.standing import OpenQuestions
from umbel.federation.coordinator.tables import PresentTables, SessionTables
from umbel.federation.coordinator.uploads import Uploads
from umbel.federation.errors import FederationError, IdentityError, SiteError
from umbel.federation.identity import Authority, Certificate, EnrolmentRequest, Invitation
from umbel.federation.identity.authority import SERVER_LIFE
from umbel.federation.identity.enrolment import enrol
from umbel.federation.identity.invitations import LIFE as INVITATION_LIFE
from umbel.federation.identity.keys import new_key, write_key, write_secret
from umbel.federation.protocol import RUN_DIGITS, SKIP
from umbel.federation.signed.statements import Signed
from umbel.federation.store import Store
from umbel.federation.wire.endpoint import FlightEndpoint
from umbel.learning.gathering import Answers, Patience
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.operators import topological
from umbel.plan.types import is_object

if TYPE_CHECKING:
    from umbel.federation.coordinator.oidc_settings import OidcSection
    from umbel.federation.oidc.provider import Provider
    from umbel.federation.oidc.tokens import Tokens

#: The server's certificate and key in the coordinator's folder.
CERTIFICATE, KEY = "server.pem", "server.key"
#: After which a certificate that should have been renewed is worth a warning.
_OVERDUE = timedelta(days=1)
_PORT_HINT = "it should have been renewed by now; the log says why it was not"
_ISSUER_HINT = (
    "bring the authority's root key back and run: umbel coordinator renew-issuer; "
    "nothing that it issues outlives it"
)

#: Seconds within which all sites have dialled a coordinator that was started anew.
_SITES_COME = 60.0


class Coordinator:
    """A coordinator that is open.

    Attributes:
        settings: its configuration.
        authority: issues the certificates of the federation.
        store: what it remembers.
        session: plans and runs.
        endpoint: where sites connect; None for a coordinator without sites.
        sites: who they are, and what they publish.
        runs: what users run.
        uploads: tables that users sent.
    """

    def __init__(
        self,
        settings: CoordinatorSettings,
        *,
        store: Store,
        authority: Authority,
        endpoint: FlightEndpoint | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.authority = authority
        limits = settings.limits
        self.session = Session(progress=False, memory_limit=limits.memory_bytes)
        for name, (url, options) in settings.catalog.items():
            self.session.catalog.attach(name, url, **options)
        self.endpoint = endpoint
        self.sites = Sites(store, endpoint, self.session)
        self.runs = Runs(
            RunStore(settings.runs_place),
            Folder(settings.folder / "results"),
            limits,
            self._again,
            self._goes_on,
            self.sites.tasks,
            self.sites.let_go,
        )
        #: As many questions to sites at a time as runs.
        self._opened = time.monotonic()
        self.questions = OpenQuestions(self.sites.let_go)
        self._asks = threading.BoundedSemaphore(limits.runs)
        self.uploads = Uploads(limits.upload_bytes, limits.uploads_bytes, limits.keep_seconds)
        self._certificate = threading.Lock()
        self._provider: Provider | None = None
        self._logins = None if settings.oidc is None else self._oidc(settings.oidc)

    @classmethod
    def open(cls, settings: CoordinatorSettings, *, serving: bool = True) -> Coordinator:
        """Open a coordinator that `create` made.

        Args:
            settings: its configuration.
            serving: let sites connect; without it people are let in and out, while the
                coordinator itself may run elsewhere.

        Raises:
            IdentityError: its authority is missing or no good.
            FederationError: its store cannot be opened, another coordinator runs on it, or the
                address for sites is taken.
        """
        authority = Authority.open(settings.authority)
        store = Store.open(settings.store_url)
        endpoint = None
        try:
            if serving:
                host, port = settings.sites
                shown = f"[{host}]" if ":" in host else host
                endpoint = FlightEndpoint(
                    store, authority, f"{shown}:{port}", hosts=settings.hosts,
                    folder=settings.folder / "arrivals", name=settings.name,
                )  # fmt: skip
                # First of all, for it finds out whether another coordinator is at work here.
                endpoint.start()
            coordinator = cls(settings, store=store, authority=authority, endpoint=endpoint)
            if serving:
                coordinator.runs.go_on(store.tasks.runs())
        except BaseException:
            if endpoint is not None:
                endpoint.close()
            store.close()
            raise
        return coordinator

    def _oidc(self, section: OidcSection) -> Tokens:
        """Prepare to judge the tokens of a provider; it is asked when the first one comes."""
        from umbel.federation.oidc.keys import Keys
        from umbel.federation.oidc.provider import Provider
        from umbel.federation.oidc.tokens import Tokens

        self._provider = Provider(section.issuer, ca=section.authority(self.settings.file))
        return Tokens(section.expected(), Keys(self._provider))

    def close(self) -> None:
        """Stop, and let go of everything; runs go on when a coordinator is opened here again."""
        self.runs.stop()
        self.questions.close()
        if self.endpoint is not None:
            self.endpoint.close()  # sites go on, and keep what they have for whoever asks again
        self.runs.close()
        if self._provider is not None:
            self._provider.close()
        for name in list(self.session.catalog):
            self.session.catalog.detach(name)
        self.store.close()

    # --- who is who ---------------------------------------------------------------------------

    def server_certificate(self) -> tuple[Path, Path]:
        """Give the files of the server's certificate and key; new ones if it is time.

        Raises:
            IdentityError: they cannot be written.
        """
        certificate, key = self.settings.folder / CERTIFICATE, self.settings.folder / KEY
        with self._certificate:
            if not self._is_good(certificate, key):
                made = new_key()
                issued = self.authority.issue_server(
                    self.settings.name, made.public_key(), self.settings.hosts, life=SERVER_LIFE
                )
                write_key(key, made)
                write_secret(certificate, issued.pem())
        return certificate, key

    def renew_endpoint(self) -> None:
        """Give the port for sites a new certificate if it is time.

        Raises:
            FederationError: there is none to be had, or the port is taken.
        """
        endpoint = self.endpoint
        if endpoint is not None and datetime.now(UTC) >= endpoint.certificate.renewal:
            endpoint.renew()

    def certificates(self, now: datetime | None = None) -> list[dict[str, Any]]:
        """Say until when the coordinator's certificates hold, and which should be new by now."""
        now = now or datetime.now(UTC)
        found = [("the authority's issuing certificate", self.authority.issuer, _ISSUER_HINT)]
        file = self.settings.folder / CERTIFICATE
        if file.exists():
            what = "the certificate of the port for people"
            found.append((what, Certificate.read(file), _PORT_HINT))
        if self.endpoint is not None:
            what = "the certificate of the port for sites"
            found.append((what, self.endpoint.certificate, _PORT_HINT))
        return [
            {
                "what": what,
                "ends": certificate.own.not_valid_after_utc.isoformat(),
                "days": (certificate.own.not_valid_after_utc - now).days,
                "late": now >= certificate.renewal + _OVERDUE,
                "hint": hint,
            }
            for what, certificate, hint in found
        ]

    def _is_good(self, certificate: Path, key: Path) -> bool:
        """Whether a certificate can still be used, for the hosts that are configured."""
        if not certificate.exists() or not key.exists():
            return False
        try:
            found = Certificate.read(certificate)
            found.check(self.authority.root)
        except IdentityError:
            return False
        hosts = _hosts(found)
        return datetime.now(UTC) < found.renewal and set(self.settings.hosts) <= hosts

    def admit(self, word: str) -> Principal:
        """Give whose token this is.

        Raises:
            IdentityError: it is nobody's, or not any more.
            AccessError: it is of somebody who has no role here.
        """
        if self._logins is not None and not word.startswith(TOKEN_PREFIX):
            return self._logins.admit(word)
        try:
            token = ApiToken.decode(word)
        except IdentityError:
            raise unknown_token() from None
        record = self.store.tokens.get(token.id)
        if record is None:
            raise unknown_token()
        return record.admit(token.secret, now=datetime.now(UTC))

    def new_token(
        self, user: str, roles: Iterable[Role], life: timedelta = TOKEN_LIFE
    ) -> tuple[TokenRecord, ApiToken]:
        """Make a token for a user.

        Raises:
            AccessError: the user has no name, or there is no role.
        """
        now = datetime.now(UTC)
        record, token = ApiToken.make(user, roles, self.authority.fingerprint, now=now, life=life)
        self.store.tokens.add(record)
        return record, token

    def revoke_token(self, name: str) -> None:
        """Take a token back.

        Raises:
            UnknownNameError: there is none of this id.
        """
        if not self.store.tokens.revoke(name):
            raise UnknownNameError("token", name, [r.id for r in self.store.tokens.all()])

    def invite(self, site: str, life: timedelta = INVITATION_LIFE) -> tuple[Invitation, str]:
        """Invite a site; give the invitation, and the word to hand over.

        Raises:
            IdentityError: the site's name is none.
        """
        now = datetime.now(UTC)
        invitation, token = Invitation.make(
            site, self.settings.url, self.authority.fingerprint, now=now, life=life
        )
        self.store.members.invite(invitation)
        return invitation, token.encode()

    def enrol(self, request: EnrolmentRequest) -> Certificate:
        """Give an invited site its first certificate.

        Raises:
            IdentityError: it was not invited, or not for long, or used its invitation before.
        """
        invitation = self.store.members.invitation(request.invitation)
        if invitation is None:
            raise IdentityError(
                "there is no such invitation, or it was used already",
                hint="ask for a new one: umbel coordinator invite SITE",
            )
        certificate = enrol(self.authority, invitation, request, now=datetime.now(UTC))
        self.store.members.join(invitation.id, certificate)
        return certificate

    def revoke_site(self, name: str) -> None:
        """Let a site speak no more.

        Raises:
            UnknownNameError: there is no such site.
        """
        if name not in [site.name for site in self.store.members.sites()]:
            known = [site.name for site in self.store.members.sites()]
            raise UnknownNameError("site", name, known)
        self.store.members.revoke(name)
        self.sites.forget(name)

    @property
    def sites_address(self) -> str:
        """Where sites reach it: host and port."""
        port = self.settings.sites[1] if self.endpoint is None else self.endpoint.port
        return f"{self.settings.hosts[0]}:{port}"

    # --- plans ----------------------------------------------------------------------------------

    def tables(self, who: Principal) -> SessionTables:
        """What names mean to a user."""
        return SessionTables(self.sites.session(who))

    def _asker(
        self, who: Principal, ways: Ways, without: Container[str], *, restarted: bool = False
    ) -> Asker:
        dispatcher = self.sites.dispatcher(ways.missing, restarted=restarted)
        session = self.sites.session(
            who,
            purpose=ways.purpose,
            without=without,
            dispatcher=dispatcher,
            signed=ways.signed,
        )
        return Asker(session, dispatcher, ways.trace)

    def asked(
        self, who: Principal, text: bytes, uploads: Mapping[str, str], ways: Ways | None = None
    ) -> Question:
        """Read a plan that a user sent.

        Args:
            who: the user.
            text: the plan's JSON.
            uploads: the digests of tables that were sent before, by the tokens of its sources.
            ways: how it is to be run.

        Raises:
            PlanFormatError: it is no plan, or too large.
            AccessError: it holds what a user may not ask for.
            PlanError: a table was not sent, or has changed.
            UnknownNameError: it names a table or a platform that is not there.
            SiteError: it is to go on without sites that are away, and nothing is left of a table.
        """
        ways = ways or Ways()
        brought = {token: self.uploads.table(who.user, d) for token, d in uploads.items()}
        away = self.sites.away() if ways.missing == SKIP else {}
        asker = self._asker(who, ways, away)
        tables = PresentTables(asker.session, away)
        plan = read_plan(text, brought, tables, limit=self.settings.limits.plan_bytes)
        for item in plan.schema:
            if is_object(item.type):
                raise PlanError(f"column {item.name!r} holds Python objects, which do not travel")
        for operator in topological(plan):
            if operator.pin:
                asker.session.platform_name(operator.pin)
        covers = sorted(plan.places & {manifest.site for manifest in self.sites.manifests()})
        return Question(
            who,
            plan,
            text,
            ways,
            asker,
            missing=tuple(sorted(tables.missed)),
            covers=tuple(covers),
            horizontal=tuple(sorted(tables.horizontal)),
        )

    def ask_sites(
        self, who: Principal, plans: Mapping[str, str], ways: Ways, patience: Patience
    ) -> Answers | None:
        """Have sites do what lies wholly at each, without a plan; None if something does not.

        Args:
            who: the user.
            plans: as JSON, by any name.
            ways: what it is for, and whether it waits for sites that are away.
            patience: how long to wait, and for how many.

        Raises:
            PlanFormatError: one is no plan, or too large.
            AccessError: one holds what a user may not ask for.
            PolicyError: a site lets out nothing of it.
        """
        limits = self.settings.limits
        asker = self._asker(who, ways, {}, restarted=self._restarted)
        tables = PresentTables(asker.session, {})
        read = {
            name: read_plan(text.encode(), {}, tables, limit=limits.plan_bytes)
            for name, text in plans.items()
        }
        if asker.dispatcher is not None:
            asker.dispatcher.limit(limits.seconds)
        question = new_id(RUN_DIGITS)
        texts = None if ways.signed is None else plans
        try:
            with self._asks:
                return asker.session.ask_sites(read, patience, name=question, signed=texts)
        finally:
            self.sites.let_go(question)

    def stand(self, who: Principal, plans: Mapping[str, str], ways: Ways) -> str | None:
        """Have sites take a question that is asked in rounds; give its name.

        None if something of it does not lie wholly at one site.

        Raises:
            PlanFormatError: a plan is none, or too large.
            AccessError: one holds what a user may not ask for, or the user has too many questions.
            PolicyError: a site lets out nothing of it.
        """
        asker = self._asker(who, ways, {}, restarted=self._restarted)
        tables, limit = PresentTables(asker.session, {}), self.settings.limits.plan_bytes
        read = {n: read_plan(text.encode(), {}, tables, limit=limit) for n, text in plans.items()}
        name = new_id(RUN_DIGITS)
        asked = asker.session.stand(read, name=name)
        if asked is None:
            return None
        self.questions.add(name, who.user, asked)
        return name

    @property
    def _restarted(self) -> bool:
        """Whether sites may still be dialling, with growing pauses, after a start of ours."""
        return time.monotonic() - self._opened < _SITES_COME

    def _again(self, owned: Owned) -> Job:
        """Make what goes on with a run that was begun before."""
        about = owned.run.options
        who = Principal(about["user"], tuple(map(Role.of, about["roles"])))
        signed = Signed(**about["signed"]) if "signed" in about else None
        ways = Ways(None, about["purpose"], about["on_missing_site"], about["trace"], signed)
        left = frozenset(owned.history.noted.get("left", ()))
        asker = self._asker(who, ways, left.union(about["missing"]), restarted=not left)
        return Job.again(owned, asker, left)

    def _goes_on(self, owned: Owned, error: SiteError) -> bool:
        """Whether a run goes on without a site that has left it."""
        noted = owned.history.noted.get("left", ())
        skips = owned.run.options["on_missing_site"] == SKIP
        return skips and error.retryable and error.site not in noted and self._is_away(error.site)

    def _is_away(self, site: str) -> bool:
        return bool(site) and not self.sites.connected(site)

    def explain(self, question: Question) -> dict[str, Any]:
        """Say how a plan would run, in every form in which it can be said."""
        found = question.asker.session.explain(question.plan, question.ways.budget)
        return {
            "text": found.text(),
            "data": found.to_dict(),
            "mermaid": found.to_mermaid(),
            "svg": found.to_svg(),
        }

    def platforms(self, who: Principal) -> list[dict[str, Any]]:
        """Say what can run something here, and at the sites."""
        return [
            {"name": platform.name, "engine": platform.engine, "version": platform.version}
            for platform in self.sites.session(who).platforms()
        ]


def create(
    folder: Path, federation: str, hosts: Sequence[str], *, listen: str, sites: str
) -> CoordinatorSettings:
    """Make a coordinator: its authority, its configuration and its store.

    Args:
        folder: where all of it will lie.
        federation: its name.
        hosts: the names and addresses at which it is reached.
        listen: host and port for people and tools.
        sites: host and port for sites.

    Raises:
        IdentityError: there is an authority already, or the folder cannot be written.
        FederationError: there is a configuration already.
    """
    file = folder / FILE
    if file.exists():
        raise FederationError(
            f"{file} is there already", hint=f"umbel coordinator serve {file} starts it"
        )
    text = TEMPLATE.format(
        file=FILE,
        name="coordinator",
        hosts=", ".join(f'"{host}"' for host in hosts),
        listen=listen,
        sites=sites,
    )
    Authority.create(folder / "authority", federation)
    file.write_text(text, encoding="utf-8")
    settings = CoordinatorSettings.read(file)
    Store.open(settings.store_url).close()
    return settings


def _hosts(certificate: Certificate) -> set[str]:
    from cryptography import x509

    names = certificate.own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*names.get_values_for_type(x509.DNSName), *map(str, addresses)}


__all__ = ["Coordinator", "create"]
