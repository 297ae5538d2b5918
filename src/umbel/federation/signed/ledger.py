"""Which signed questions a site has been asked: a nonce is of one run, and each part of it is one.

A coordinator that keeps a signed question could ask it again when the table has changed, or by
another name, or in ever other cuts. So a part of a question (a stage, what comes in with it, where
it goes) is one task, and is answered only so often as a coordinator needs that has lost an answer;
and one question has only so many parts.
"""

from __future__ import annotations

from umbel.federation.disclosure.ledger import Ledger
from umbel.federation.errors import PolicyError
from umbel.federation.signed.statements import Statement

#: How often an answer leaves, and parts that one question has at a site.
MOST_ANSWERS, MOST_PARTS = 4, 64


class Nonces:
    """The questions that were asked, in the site's ledger."""

    def __init__(self, ledger: Ledger) -> None:
        """Prepare, with what the site remembers."""
        self._ledger = ledger

    def take(self, statement: Statement, digest: str, part: str, task: str, now: float) -> None:
        """Take a part of a question on.

        Args:
            statement: what was signed.
            digest: of it as text.
            part: identifies what the site is to do.
            task: the task that asks for it.
            now: in seconds since 1970.

        Raises:
            PolicyError: it was asked before.
        """
        nonce = f"{statement.user}/{statement.nonce}"
        with self._ledger.transaction() as database:
            database.execute("delete from asked where until < ?", (now,))
            known = database.execute(
                "select statement, part, task, answers from asked where nonce = ?", (nonce,)
            ).fetchall()
            if any(row[0] != digest for row in known):
                raise _replayed("its name is that of another question")
            for _, known_part, known_task, answers in known:
                if known_part == part and known_task != task:
                    raise _replayed("it was asked as another task")
                if known_part == part and answers >= MOST_ANSWERS:
                    raise _replayed(f"it was answered {answers} times")
            if part not in [row[1] for row in known]:
                if len(known) >= MOST_PARTS:
                    raise _replayed(f"it has more than {MOST_PARTS} parts by now")
                given = (nonce, digest, part, task, statement.until)
                database.execute("insert into asked values (?, ?, ?, ?, ?, 0)", given)

    def answered(self, statement: Statement, part: str) -> None:
        """Count an answer that is about to leave."""
        nonce = f"{statement.user}/{statement.nonce}"
        update = "update asked set answers = answers + 1 where nonce = ? and part = ?"
        with self._ledger.transaction() as database:
            database.execute(update, (nonce, part))


def _replayed(why: str) -> PolicyError:
    return PolicyError(
        f"a signed question was asked again: {why}",
        hint="whoever wants to know signs a new one: run it again",
    )


__all__ = ["MOST_ANSWERS", "MOST_PARTS", "Nonces"]
