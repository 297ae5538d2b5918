"""The coordinator's door for sites: an Arrow Flight server that takes nobody without certificate.

Every message is an action, answered here after the same checks: who TLS says that speaks, the
session, whether it was revoked, the message's form and size. What an error says to a site is made
of our own words; anything unforeseen is logged here and told as a fault, without details.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import flight
from sqlalchemy.exc import OperationalError

from umbel.federation.audit import Anchor, Head
from umbel.federation.errors import DiskFullError, FederationError, IdentityError
from umbel.federation.identity import Authority, Certificate, enrolment
from umbel.federation.identity.cards import Peers
from umbel.federation.identity.keys import PrivateKey, key_bytes, new_key
from umbel.federation.store import SegmentRecord, Store
from umbel.federation.tasks import Failure, Outcome, Sealed
from umbel.federation.wire import frames, messages, segments
from umbel.federation.wire.actions import ActionServer
from umbel.federation.wire.arrivals import Arrivals
from umbel.federation.wire.board import LEASE_SECONDS, POLL_SECONDS, Board, Presence
from umbel.federation.wire.lines import line_of
from umbel.federation.wire.messages import Buffer, Message, Refused, RefusedError
from umbel.federation.wire.sessions import Session, Sessions
from umbel.telemetry import active
from umbel.telemetry.logs import say

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

#: What results that wait to be read, or belong to runs that go on, may take on the disk.
QUOTA = 64 << 30
#: Seconds that answers have to end when the door is opened anew, and pauses between tries.
_DRAIN = 10.0
_REOPEN = (0.2, 1.0, 3.0)
#: Seconds for which a site's question for another's card waits, before it is asked anew.
_CARD_SECONDS = 2.0


class FlightEndpoint:
    """The server for sites.

    Attributes:
        store: what the coordinator remembers.
        board: the work for sites.
        arrivals: the results that came.
        on_manifest: called with a site's name and what it says that it publishes.
    """

    def __init__(
        self,
        store: Store,
        authority: Authority,
        address: str,
        *,
        hosts: Sequence[str],
        folder: Path,
        name: str = "coordinator",
        quota: int = QUOTA,
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """Prepare the server; `start` opens it.

        Args:
            store: what the coordinator remembers; claimed, so that no other works on it.
            authority: issues and checks certificates.
            address: host and port to listen on; port 0 for a free one.
            hosts: the names and addresses by which sites reach it, for its certificate.
            folder: where results are kept.
            name: of the coordinator.
            quota: bytes that results may take.
            poll_seconds: of one poll.
            lease_seconds: of silence after which a site counts as away.
        """
        self.store = store
        self.board = Board(store, poll_seconds=poll_seconds, lease_seconds=lease_seconds)
        self.on_manifest: Callable[[str, str], None] | None = None
        self._authority = authority
        self._address = address
        self._hosts = hosts
        self._name = name
        self._folder = folder
        self._quota = quota
        self._sessions = Sessions(authority, store)
        self._server: ActionServer | None = None
        self._certificate: Certificate | None = None
        #: By what heads of audit logs are countersigned: the certificate that sites see.
        self._signer: tuple[Certificate, PrivateKey] | None = None
        #: The newest head that each site has shown in which of its lives.
        self._shown: dict[str, tuple[str, int]] = {}
        self._showing = threading.Lock()
        self._hurry = threading.Event()
        self._door = threading.Lock()
        self._closed = False
        self.arrivals: Arrivals

    def start(self) -> None:
        """Claim the store and open the door.

        Raises:
            FederationError: another coordinator runs on the store, or the address is taken.
        """
        self.store.claim()
        self.arrivals = Arrivals(self._folder, self._quota)
        with self._door:
            self._open(self._address)

    def _open(self, address: str) -> None:
        """Listen, with a new certificate; the door's lock is held."""
        key = new_key()
        certificate = self._authority.issue_server(self._name, key.public_key(), self._hosts)
        try:
            self._server = ActionServer(
                f"grpc+tls://{address}",
                self._answer,
                self._attend,
                tls_certificates=[(certificate.pem(), key_bytes(key))],
                root_certificates=self._authority.root_pem(),
            )
        except (OSError, flight.FlightError, pa.ArrowException):
            raise FederationError(
                f"cannot listen on {address}", hint="is the port taken by another program?"
            ) from None
        self._certificate = certificate
        self._signer = (certificate, key)
        self._address = f"{address.rpartition(':')[0]}:{self._server.port}"

    @property
    def certificate(self) -> Certificate:
        """The certificate that sites see."""
        if self._certificate is None:
            raise FederationError("the endpoint was not started")
        return self._certificate

    def renew(self) -> None:
        """Close the door and open it at once with a new certificate.

        A Flight server cannot change its certificate. So polls are answered at once, what is on
        its way gets a few seconds, and then sites connect again by themselves: sessions, leases
        and what arrived of results stay as they are.

        Raises:
            FederationError: no certificate can be issued, or the port was taken in between; the
                next call tries again.
        """
        with self._door:
            if self._closed:
                return
            hurry = threading.Timer(_DRAIN, self._hurry.set)
            hurry.daemon = True
            try:
                with self.board.rest():
                    hurry.start()
                    if self._server is not None:
                        self._server.shutdown()
                        self._server = None
            finally:
                hurry.cancel()
                self._hurry.clear()
            for pause in (*_REOPEN, None):
                try:
                    self._open(self._address)
                    break
                except FederationError:
                    if pause is None:
                        raise
                    time.sleep(pause)
        say(_LOG, logging.INFO, "certificate", "that of the port for sites was renewed")

    @property
    def port(self) -> int:
        """The port on which it listens."""
        if self._certificate is None:
            raise FederationError("the endpoint was not started")
        return int(self._address.rpartition(":")[2])

    def presence(self, site: str) -> Presence:
        """Say whether a site is there."""
        return self.board.presence(site)

    def forget(self, run: str) -> None:
        """Remove the results of a run that is over."""
        for task in self.store.tasks.forget(run):
            self.arrivals.forget(task)

    def close(self) -> None:
        """Close the door; who waits is woken."""
        self.board.close()
        with self._door:
            self._closed = True
            if self._server is not None:
                self._server.shutdown()
                self._server = None

    # --- Messages.

    def _answer(self, identity: bytes, action: str, body: memoryview) -> Iterator[Buffer]:
        """Answer one message; a refusal is an answer too."""
        try:
            for part in self._dispatch(self._sessions.peer(identity), action, body):
                yield part
                if self._hurry.is_set():
                    raise flight.FlightUnavailableError("the door is opened anew: come again")
        except flight.FlightError:
            raise
        except RefusedError as refusal:
            yield from messages.answer(_refusal(refusal.why, refusal.message, refusal.hint))
        except FederationError as error:
            say(_LOG, logging.ERROR, "message.failed", cause=error, what=_known(action))
            full = isinstance(error, DiskFullError)
            why = Refused.RESOURCE if full else Refused.INTERNAL
            yield from messages.answer(_refusal(why, error.message, error.hint))
        except OperationalError as error:
            say(_LOG, logging.ERROR, "message.failed", what=_known(action), cause=error)
            what, hint = "the coordinator's store fails", "the site tries again"
            yield from messages.answer(_refusal(Refused.INTERNAL, what, hint))
        except Exception as error:  # noqa: BLE001 - logged here; a site learns nothing of our inside
            say(_LOG, logging.ERROR, "message.failed", what=_known(action), cause=error)
            yield from messages.answer(
                _refusal(Refused.INTERNAL, "a fault of the coordinator's; its log says more", "")
            )

    def _attend(self, identity: bytes, command: memoryview, reader: Any, writer: Any) -> None:
        """Bring the rounds of a standing question to a site, as long as its exchange is open."""
        try:
            asked, _ = messages.unpack(messages.Attend, command, 0)
            site = self._sessions.peer(identity)
            self._sessions.session(site, asked.session)
            line = line_of(self.board.leased(site, asked.task, asked.token))
            frames.send(writer, frames.OPEN)
            line.serve(
                asked.token,
                lambda: self._check_speaks(site, asked.session),
                reader,
                writer,
            )
        except frames.EndedError:
            return  # the site dials again
        except RefusedError as refusal:
            told = _refusal(refusal.why, refusal.message, refusal.hint)
            with contextlib.suppress(frames.EndedError):
                frames.send(writer, frames.REFUSED, 0, [told.model_dump_json().encode()])
        except Exception as error:  # noqa: BLE001 - logged here; a site learns nothing of our inside
            say(_LOG, logging.ERROR, "exchange.failed", cause=error)

    def _check_speaks(self, site: str, token: str) -> None:
        """Raise `RefusedError` if a site was revoked, or another process speaks for it."""
        self._sessions.session(site, token, lately=True)

    def _dispatch(self, site: str, action: str, body: memoryview) -> Iterator[Buffer]:
        form = messages.REQUESTS.get(action)
        if form is None:
            raise RefusedError(Refused.PROTOCOL, "there is no such action")
        request, payload = messages.unpack(form, body, form.most)
        match request:
            case messages.Challenge():
                nonce = self._sessions.challenge(site, request.protocol)
                return messages.answer(messages.Challenged(nonce=nonce))
            case messages.Hello():
                return messages.answer(self._hello(site, request))
        token = str(getattr(request, "session", ""))
        # Of a part of a segment nothing comes but bytes in a file: a moment's old look will do.
        session = self._sessions.session(site, token, lately=isinstance(request, messages.Put))
        match request:
            case messages.Poll():
                return self._poll(session, request)
            case messages.AskInput():
                return self._input(site, request)
            case messages.AskCard():
                return messages.answer(self._card(site, request))
            case messages.Have():
                self.board.leased(site, request.task, request.token)
                have = self.arrivals.have(request.task)
                return messages.answer(messages.Arrived(digests=have))
            case messages.Put():
                return messages.answer(self._put(site, request, payload))
            case messages.Commit():
                return messages.answer(self._commit(session, request, payload))
            case messages.Fail():
                failure = _read(Failure.from_json, request.failure)
                self.board.fail(site, request.task, request.token, failure)
                return messages.answer(messages.Done())
            case messages.Publish():
                return messages.answer(self._publish(site, payload))
            case messages.Renew():
                return self._renew(session, payload)
        raise RefusedError(Refused.PROTOCOL, "there is no such action")

    def _hello(self, site: str, hello: messages.Hello) -> Message:
        token = self._sessions.hello(site, hello)
        if hello.card:
            try:
                Peers(self._authority.federation, self._authority.root).card_of(hello.card, site)
            except FederationError as error:
                raise RefusedError(Refused.IDENTITY, error.message, hint=error.hint) from None
            self.board.show_card(site, hello.card)
        return messages.Welcome(
            session=token,
            poll_seconds=self.board.poll_seconds,
            lease_seconds=self.board.lease_seconds,
            clock_ahead=hello.clock - time.time(),
        )

    def _poll(self, session: Session, poll: messages.Poll) -> Iterator[Buffer]:
        # Kept before the poll waits: what the site shows counts from now on.
        countersigned = self._countersign(session, poll.head)
        polled, envelopes = self.board.poll(
            session.site, session.epoch, poll.number, poll.holding, poll.slots, poll.wait
        )
        if countersigned is not None:
            polled = polled.model_copy(update={"countersigned": countersigned})
        # It may have been revoked while it waited: then it gets nothing.
        self._sessions.session(session.site, poll.session)
        return messages.answer(polled, envelopes)

    def _input(self, site: str, ask: messages.AskInput) -> Iterator[Buffer]:
        work = self.board.leased(site, ask.task, ask.token)
        data = work.inputs.get(ask.label)
        if data is None:
            raise RefusedError(Refused.LOST, "the task's inputs are not here any more")
        if isinstance(data, Sealed):
            return self._handed_on(site, data, lost=ask.lost)
        sealed = list(segments.seal(data))
        comes = messages.InputComes(segments=[one.entry() for one in sealed])
        _crossed(site, comes)
        return messages.answer(comes, _parts(one.content for one in sealed))

    def _handed_on(self, site: str, sealed: Sealed, *, lost: bool) -> Iterator[Buffer]:
        """Give what another site has sealed, as it lies here; of what went straight, the list."""
        if lost and sealed.direct:
            # Whoever asks for it again has it made again.
            self.store.tasks.undo(sealed.task)
            raise RefusedError(
                Refused.PROTOCOL,
                f"what site {sealed.site!r} has brought straight to this site is not here any more",
                hint="run it again: it is made anew",
            )
        records = self.store.tasks.segments(sealed.task)
        here = [] if sealed.direct else records
        try:
            contents = [self.content(sealed.task, record) for record in here]
        except FederationError as error:
            raise RefusedError(
                Refused.PROTOCOL, f"what site {sealed.site!r} has sealed is lost: {error.message}"
            ) from None
        entries = [
            messages.SegmentEntry(digest=one.digest, bytes=one.bytes, rows=one.rows)
            for one in records
        ]
        comes = messages.InputComes(
            segments=entries, envelope=sealed.envelope, direct=sealed.direct
        )
        _crossed(site, comes)
        return messages.answer(comes, _parts(content for content, _ in contents))

    def content(self, task: str, record: SegmentRecord) -> tuple[pa.Buffer, bool]:
        """Give a segment, and whether its digest was found right since the coordinator started.

        Raises:
            FederationError: it cannot be read.
        """
        if record.content is not None:
            return pa.py_buffer(record.content), False
        return self.arrivals.read(task, record.digest)

    def _card(self, site: str, ask: messages.AskCard) -> Message:
        work = self.board.leased(site, ask.task, ask.token)
        if work.task is None or ask.site not in work.task.to:
            raise RefusedError(Refused.PROTOCOL, "this task's output does not go there")
        reader = self.store.members.site(ask.site)
        if reader is not None and reader.revoked is not None:
            raise RefusedError(
                Refused.PROTOCOL, f"site {ask.site!r} was revoked: nothing is sealed to it"
            )
        return messages.CardComes(card=self.board.card(ask.site, _CARD_SECONDS))

    def _put(self, site: str, put: messages.Put, payload: memoryview) -> Message:
        work = self.board.leased(site, put.task, put.token)
        limit = work.task.limits.bytes if work.task is not None else self._quota
        if self.arrivals.size(put.task) > limit + messages.LARGEST_SEGMENT:
            raise RefusedError(
                Refused.PROTOCOL, f"the result is larger than the {limit:,} bytes asked for"
            )
        return messages.Stored(next=self.arrivals.put(put, payload))

    def _commit(self, session: Session, commit: messages.Commit, payload: memoryview) -> Message:
        site = session.site
        outcome = _read(Outcome.from_json, commit.outcome)
        countersigned = self._countersign(session, commit.head)
        work = self.board.begin_commit(site, commit.task, commit.token)
        if work is None:
            return messages.Committed(duplicate=True, countersigned=countersigned)
        done = records = None
        try:
            if work.task is not None:
                _check_limits(work.task.limits.rows, commit)
                if bool(work.task.to) != bool(outcome.envelope):
                    raise RefusedError(Refused.PROTOCOL, "the result is not sealed as asked for")
            if outcome.direct and not outcome.envelope:
                raise RefusedError(Refused.PROTOCOL, "only what is sealed goes straight")
            records = self._records(commit, payload, direct=outcome.direct)
            if not self.store.tasks.commit(
                commit.task, records, outcome, attempts=work.attempts, leased=work.leased
            ):
                raise RefusedError(Refused.LOST, "nobody wants this task any more")
            done = outcome
        finally:
            self.board.end_commit(work, done, records)
        return messages.Committed(duplicate=False, countersigned=countersigned)

    def _countersign(
        self, session: Session, shown: messages.AuditHead | None
    ) -> messages.Countersigned | None:
        """Keep and sign the head of a site's audit log, unless it has fallen behind."""
        if shown is None:
            return None
        site, head = session.site, Head(shown.seq, shown.digest)
        with self._showing:
            before = self._shown.get(site)
            if before is not None and before[0] == session.epoch and before[1] > head.seq:
                return messages.Countersigned()  # it was overtaken on its way
            known = self.store.members.show_head(site, head)
            if known is None:
                self._shown[site] = (session.epoch, head.seq)
        if known is not None:
            say(
                _LOG,
                logging.ERROR,
                "audit.cut",
                "the audit log of a site was cut or changed, or comes from a copy",
                site=site,
                number=known.seq,
            )
            return messages.Countersigned(
                known=messages.AuditHead(seq=known.seq, digest=known.digest)
            )
        if self._signer is None:
            raise FederationError("the endpoint was not started")
        anchor = Anchor.make(site, head, time.time(), *self._signer)
        return messages.Countersigned(anchor=anchor.to_json())

    def _records(
        self, commit: messages.Commit, payload: memoryview, *, direct: bool
    ) -> list[SegmentRecord]:
        entries = commit.segments
        if direct:
            return [SegmentRecord(one.digest, one.bytes, one.rows) for one in entries]
        if len(payload):
            if len(entries) != 1 or segments.digest(payload) != entries[0].digest:
                raise RefusedError(
                    Refused.PROTOCOL, "a segment is not the one that its digest names"
                )
            (only,) = entries
            return [SegmentRecord(only.digest, len(payload), only.rows, bytes(payload))]
        self.arrivals.keep(commit.task, (entry.digest for entry in entries))
        return [SegmentRecord(one.digest, one.bytes, one.rows) for one in entries]

    def _publish(self, site: str, payload: memoryview) -> Message:
        try:
            manifest = str(payload, "utf-8")
        except UnicodeDecodeError:
            raise RefusedError(Refused.PROTOCOL, "the manifest is no text") from None
        if self.on_manifest is not None:
            try:
                self.on_manifest(site, manifest)
            except FederationError as error:
                raise RefusedError(Refused.PROTOCOL, error.message, hint=error.hint) from None
        self.store.members.publish(site, manifest)
        return messages.Done()

    def _renew(self, session: Session, payload: memoryview) -> Iterator[Buffer]:
        try:
            issued: Certificate = enrolment.renew(
                self._authority, session.certificate, bytes(payload), now=datetime.now(UTC)
            )
            self.store.members.renew(issued)
        except IdentityError as error:
            raise RefusedError(Refused.IDENTITY, error.message, hint=error.hint) from None
        return messages.answer(messages.Done(), [issued.pem()])


def _read(read: Callable[[str], _T], text: str) -> _T:
    try:
        return read(text)
    except FederationError as error:
        raise RefusedError(Refused.PROTOCOL, error.message, hint=error.hint) from None


def _check_limits(rows: int, commit: messages.Commit) -> None:
    given = sum(entry.rows for entry in commit.segments)
    if given > rows:
        raise RefusedError(Refused.PROTOCOL, f"the result has {given:,} rows; {rows:,} may come")


def _parts(contents: Iterable[pa.Buffer]) -> Iterator[Buffer]:
    for content in contents:
        for start in range(0, content.size, messages.PART):
            yield content.slice(start, min(messages.PART, content.size - start))


def _crossed(site: str, comes: messages.InputComes) -> None:
    """Measure what goes to a site."""
    if (instruments := active()) is not None:
        instruments.crossed(site, "to", sum(entry.bytes for entry in comes.segments))


def _known(action: str) -> str:
    return action if action in messages.REQUESTS else "unknown"


def _refusal(why: Refused, message: str, hint: str) -> Message:
    return messages.Refusal(refused=why, message=message[:2_000], hint=hint[:2_000])


__all__ = ["QUOTA", "FlightEndpoint"]
