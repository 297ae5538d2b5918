"""The server: which call of Flight SQL gets which answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from pyarrow import flight

from umbel.door import messages, metadata
from umbel.door.access import AnyHandshake, Tokens, certificates, check_settings
from umbel.door.backend import Backend, Settings, Statement
from umbel.door.failures import RefusedError, UnsupportedError, log, tells, told
from umbel.door.messages import MalformedError, make, pack
from umbel.door.running import Places
from umbel.door.statements import Handles, Prepared, read_parameters
from umbel.plan.errors import PlanError, SourceError

#: Bytes of a command that is read; a statement's own limit is smaller.
_LONGEST_COMMAND = 4 << 20
#: What `CancelFlightInfo` and `CancelQuery` say.
_CANCELLED, _NOT_CANCELLABLE = 1, 3

_NO_TRANSACTIONS = "there are no transactions: each statement is one of its own"


class Door:
    """A server that listens, until it is closed.

    >>> import umbel as ub
    >>> with ub.connect().serve(port=0) as door:
    ...     door.url.startswith("grpc://127.0.0.1:")
    True
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        """Begin to listen.

        Raises:
            PlanError: the settings would open the door to strangers.
            SourceError: the address is taken, or the certificate is none.
        """
        check_settings(settings)
        self._settings = settings
        self._places = Places(settings)
        tls = certificates(settings)
        scheme = "grpc" if tls is None else "grpc+tls"
        place = f"[{settings.host}]" if ":" in settings.host.strip("[]") else settings.host
        try:
            self._server = _Server(
                backend,
                settings,
                self._places,
                f"{scheme}://{place}:{settings.port}",
                auth_handler=AnyHandshake(),
                tls_certificates=tls,
                middleware={"tokens": Tokens(settings.token.reveal() if settings.token else None)},
            )
        except (pa.ArrowException, flight.FlightError, OSError) as error:
            raise SourceError(
                f"cannot listen on {place}:{settings.port}: {str(error).splitlines()[0]}",
                hint="another process may have the port; a certificate and its key are PEM files",
            ) from None
        self._closed = False
        self.port: int = self._server.port
        self.url = f"{scheme}://{place}:{self.port}"

    @property
    def running(self) -> int:
        """How many statements run now."""
        return len(self._places)

    def close(self, grace: float = 0.0) -> None:
        """Stop listening.

        Args:
            grace: seconds that running statements have to end; then they are cancelled.
        """
        if self._closed:
            return
        self._closed = True
        self._places.close(grace)
        # It waits for calls that are under way; none can start a statement any more.
        ending = threading.Thread(target=self._server.shutdown, daemon=True)
        ending.start()
        ending.join(5.0)
        if ending.is_alive():
            log.warning("some calls did not end in time")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Door({self.url})"


class _Server(flight.FlightServerBase):  # type: ignore[misc]
    """Answers calls, each on a thread of gRPC's."""

    def __init__(
        self, backend: Backend, settings: Settings, places: Places, location: str, **options: Any
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._places = places
        self._prepared: Handles[Prepared] = Handles("prepared statement")
        self._waiting: Handles[Statement] = Handles("statement")
        super().__init__(location, **options)

    # --- asking -------------------------------------------------------------------------------

    @tells
    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Say what a command gives, and by which ticket."""
        name, command = _command(descriptor)
        schema, ticket = self._planned(name, command, descriptor.command)
        endpoint = flight.FlightEndpoint(flight.Ticket(ticket), [])
        return flight.FlightInfo(schema, descriptor, [endpoint])

    @tells
    def get_schema(self, context: Any, descriptor: Any) -> Any:
        """Say the columns of what a command gives.

        Of errors here pyarrow 26 sends the frames of this call, and no more, as a stack trace.
        """
        name, command = _command(descriptor)
        schema = (
            self._statement(name, command).schema
            if name not in metadata.SCHEMAS
            else metadata.schema_of(name, command)
        )
        return flight.SchemaResult(schema)

    def _planned(self, name: str, command: Any, sent: bytes) -> tuple[pa.Schema, bytes]:
        if name in metadata.SCHEMAS:
            return metadata.schema_of(name, command), sent
        statement = self._statement(name, command)
        if name == "CommandPreparedStatementQuery":
            return statement.schema, sent
        handle = self._waiting.add(statement)
        return statement.schema, pack(make("TicketStatementQuery", statement_handle=handle))

    def _statement(self, name: str, command: Any) -> Statement:
        match name:
            case "CommandStatementQuery":
                _refuse_transaction(command)
                return self._read(command.query, ())
            case "CommandPreparedStatementQuery":
                held = self._prepared.get(command.prepared_statement_handle)
                return held.statement(self._read)
        raise MalformedError(f"{name} is no command that gives rows")

    def _read(self, text: str, values: Sequence[Any]) -> Statement:
        statement = self._backend.statement(text, values)
        if statement.writes and not self._settings.allow_writes:
            raise RefusedError(
                "the door is for reading: CREATE TABLE, INSERT and COPY are refused",
                hint="umbel serve --allow-writes lets them in",
            )
        return statement

    # --- fetching -----------------------------------------------------------------------------

    @tells
    def do_get(self, context: Any, ticket: Any) -> Any:
        """Give the rows of a ticket."""
        _check_length(ticket.ticket)
        name, command = messages.unpack(ticket.ticket)
        if name in metadata.SCHEMAS:
            rows = metadata.answer(name, command, self._backend, self._settings)
            return flight.RecordBatchStream(rows)
        if name == "TicketStatementQuery":
            handle = command.statement_handle
            statement = self._waiting.get(handle)
            if statement.writes:
                self._waiting.drop(handle)  # so that it is written once
        else:
            statement = self._statement(name, command)
            handle = ticket.ticket
        execution = self._places.start(statement, handle, context.is_cancelled)
        return flight.GeneratorStream(
            statement.schema, _told(execution.batches(context.is_cancelled))
        )

    # --- writing, and binding parameters ------------------------------------------------------

    @tells
    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Run a statement that writes, or bind the parameters of a prepared one."""
        name, command = _command(descriptor)
        rows: Sequence[Sequence[Any]] = [()]
        match name:
            case "CommandPreparedStatementQuery":
                held = self._prepared.get(command.prepared_statement_handle)
                held.values = read_parameters(reader)
                handle = command.prepared_statement_handle
                made = make("DoPutPreparedStatementResult", prepared_statement_handle=handle)
                writer.write(pa.py_buffer(made.SerializeToString()))
                return
            case "CommandStatementUpdate":
                _refuse_transaction(command)
                text = command.query
            case "CommandPreparedStatementUpdate":
                held = self._prepared.get(command.prepared_statement_handle)
                text = held.text
                if held.count:
                    rows = read_parameters(reader)
            case _:
                raise MalformedError(f"{name} is no command that writes")
        written = sum(self._update(context, text, values) for values in rows)
        writer.write(
            pa.py_buffer(make("DoPutUpdateResult", record_count=written).SerializeToString())
        )

    def _update(self, context: Any, text: str, values: Sequence[Any]) -> int:
        statement = self._read(text, values)
        if not statement.writes:
            raise PlanError("the statement writes nothing", hint="ask it as a query")
        execution = self._places.start(statement, text.encode(), context.is_cancelled)
        return sum(
            sum(batch.column("rows").to_pylist())
            for batch in execution.batches(context.is_cancelled)
        )

    # --- actions ------------------------------------------------------------------------------

    @tells
    def list_actions(self, context: Any) -> list[Any]:
        """Name the actions."""
        return [flight.ActionType(name, text) for name, (_, text) in self._actions().items()]

    @tells
    def do_action(self, context: Any, action: Any) -> list[Any]:
        """Do an action."""
        known = self._actions()
        if action.type not in known:
            raise UnsupportedError(
                f"there is no action {action.type[:100]!r}",
                hint=_NO_TRANSACTIONS
                if "Transaction" in action.type or "Savepoint" in action.type
                else f"there are: {', '.join(known)}",
            )
        body = b"" if action.body is None else action.body.to_pybytes()
        _check_length(body)
        return [flight.Result(pa.py_buffer(result)) for result in known[action.type][0](body)]

    def _actions(self) -> dict[str, tuple[Callable[[bytes], list[bytes]], str]]:
        return {
            "CreatePreparedStatement": (self._prepare, "Prepare a statement."),
            "ClosePreparedStatement": (self._forget, "Forget a prepared statement."),
            "CancelFlightInfo": (self._cancel, "Stop a statement."),
            "CancelQuery": (self._cancel_query, "Stop a statement; as older clients say it."),
        }

    def _prepare(self, body: bytes) -> list[bytes]:
        request = _packed("ActionCreatePreparedStatementRequest", body)
        _refuse_transaction(request)
        prepared = Prepared(request.query, self._backend.count_parameters(request.query))
        schema = prepared.result_schema(self._read)
        parameters = prepared.parameter_schema()
        made = make(
            "ActionCreatePreparedStatementResult",
            prepared_statement_handle=self._prepared.add(prepared),
            dataset_schema=b"" if schema is None else bytes(schema.serialize()),
            parameter_schema=bytes(parameters.serialize()) if prepared.count else b"",
        )
        return [pack(made)]

    def _forget(self, body: bytes) -> list[bytes]:
        request = _packed("ActionClosePreparedStatementRequest", body)
        self._prepared.drop(request.prepared_statement_handle)
        return []

    def _cancel(self, body: bytes) -> list[bytes]:
        status = self._cancelled(messages.read("CancelFlightInfoRequest", body).info)
        return [bytes(make("CancelFlightInfoResult", status=status).SerializeToString())]

    def _cancel_query(self, body: bytes) -> list[bytes]:
        status = self._cancelled(_packed("ActionCancelQueryRequest", body).info)
        return [pack(make("ActionCancelQueryResult", result=status))]

    def _cancelled(self, info: bytes) -> int:
        try:
            endpoints = flight.FlightInfo.deserialize(info).endpoints
        except (pa.ArrowException, ValueError):
            raise MalformedError("the bytes are no FlightInfo") from None
        stopped = False
        for endpoint in endpoints:
            ticket = endpoint.ticket.ticket
            name, command = messages.unpack(ticket)
            handle = command.statement_handle if name == "TicketStatementQuery" else ticket
            self._waiting.drop(handle)  # what is not fetched yet never will be
            stopped |= self._places.cancel(handle)
        return _CANCELLED if stopped else _NOT_CANCELLABLE

    # --- what Flight has beside SQL -----------------------------------------------------------

    @tells
    def list_flights(self, context: Any, criteria: bytes) -> Iterator[Any]:
        """Flight SQL lists tables by commands."""
        raise UnsupportedError("flights are not listed here", hint="ask by Flight SQL")

    @tells
    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Flight SQL exchanges nothing."""
        raise UnsupportedError("there is nothing to exchange here", hint="ask by Flight SQL")


#: Commands of Flight SQL that are no SQL.
_OTHERS = {
    "CommandStatementIngest": "INSERT INTO ... SELECT, or CREATE TABLE ... AS, writes tables",
    "CommandStatementSubstraitPlan": "send the statement as SQL",
}


def _command(descriptor: Any) -> tuple[str, Any]:
    if descriptor.descriptor_type is not flight.DescriptorType.CMD:
        raise MalformedError("the descriptor holds a path; Flight SQL sends commands")
    _check_length(descriptor.command)
    name = messages.name_of(descriptor.command)
    if name in _OTHERS:
        raise UnsupportedError(f"{name} is not supported", hint=_OTHERS[name])
    return messages.unpack(descriptor.command)


def _check_length(data: bytes) -> None:
    if len(data) > _LONGEST_COMMAND:
        raise MalformedError(
            f"the command has {len(data):,} bytes; the most is {_LONGEST_COMMAND:,}"
        )


def _packed(wanted: str, body: bytes) -> Any:
    name, message = messages.unpack(body)
    if name != wanted:
        raise MalformedError(f"the action takes {wanted}, not {name}")
    return message


def _refuse_transaction(command: Any) -> None:
    if command.HasField("transaction_id") and command.transaction_id:
        raise UnsupportedError(_NO_TRANSACTIONS)


def _told(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Let a stream end with errors of Flight only, and close what it reads from."""
    failure: BaseException | None = None
    try:
        yield from batches
    except Exception as error:  # noqa: BLE001 - all are told, and those not expected logged
        failure = told(error)
    if failure is not None:
        raise failure


__all__ = ["Door"]
