"""The people whom a policy knows by their keys, and whether a task is what one of them has signed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping

from umbel.dataclass import dataclass
from umbel.federation.disclosure.ledger import Ledger
from umbel.federation.errors import PolicyError
from umbel.federation.policy.people import Person
from umbel.federation.protocol import HORIZONTAL
from umbel.federation.signed.footprints import beyond
from umbel.federation.signed.ledger import Nonces
from umbel.federation.signed.statements import Statement, digest_of, verify
from umbel.federation.tasks import PLAN_LIMITS, Requester, Task
from umbel.plan.codec import plan_from_json
from umbel.plan.errors import PlanError


@dataclass(frozen=True)
class Asked:
    """A task that is what somebody has signed.

    Attributes:
        requester: who it is, by their key, with the roles that the policy gives them.
        answered: is to be called before an answer leaves.
    """

    requester: Requester
    answered: Callable[[], None]


class SignedQuestions:
    """Checks the tasks of one site whose policy knows people by their keys."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        """Prepare; without a ledger what was asked is known as long as this process lives."""
        self._nonces = Nonces(ledger or Ledger(None))

    def check(
        self, task: Task, people: Mapping[str, Person], tables: Iterable[str], part: str
    ) -> Asked:
        """Find out who asks, and that they ask for this.

        Args:
            task: of which nothing is believed.
            people: whom the policy knows.
            tables: that the site publishes.
            part: identifies what is to be done, with what comes in.

        Raises:
            PolicyError: nobody has signed it whom the policy knows; it is more than was signed; or
                it was asked before.
        """
        told, where = task.requester, f"site {task.site!r}"
        if told.signed is None:
            raise PolicyError(
                f"{where} answers signed questions only, and this one is not signed",
                hint="ub.connect(…, key='FILE'): a key whose public part stands under [people] in the "
                "site's policy",
            )
        keys = {key: person for person in people.values() for key in person.keys}
        now = time.time()
        statement = verify(told.signed, keys, task.site, now)
        person = keys[told.signed.key]
        for what, said, signed in (
            ("user", told.name, statement.user),
            ("purpose", told.purpose, statement.purpose),
            # The key is ann's, and says that bob asks.
            ("user", person.name, statement.user),
        ):
            if said != signed:
                raise PolicyError(
                    f"{where}: the question is signed for {what} {signed!r}, and not {said!r}"
                )
        self._check_plan(task, told.signed.plan, tables)
        self._nonces.take(
            statement, digest_of(told.signed.statement), _of(task, part), task.id, now
        )
        requester = Requester(person.name, person.roles, statement.purpose, told.signed)
        return Asked(requester, lambda: self._answered(statement, task, part))

    def _answered(self, statement: Statement, task: Task, part: str) -> None:
        self._nonces.answered(statement, _of(task, part))

    def _check_plan(self, task: Task, text: str, tables: Iterable[str]) -> None:
        try:
            asked = plan_from_json(text, limits=PLAN_LIMITS)
            more = beyond(task.plan, asked, task.site, tables, HORIZONTAL)
        except PlanError as error:
            raise PolicyError(
                f"site {task.site!r} cannot read the question that was signed: {error.message}"
            ) from None
        if more:
            raise PolicyError(
                f"site {task.site!r} is asked for more than was signed: {more}",
                hint="the coordinator has altered the question, or plans by other rules: see that "
                "it runs the site's version of umbel",
            )


def _of(task: Task, part: str) -> str:
    return hashlib.sha256("\n".join([part, *task.to]).encode()).hexdigest()


__all__ = ["Asked", "SignedQuestions"]
