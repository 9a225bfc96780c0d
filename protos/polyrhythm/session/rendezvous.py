"""The store at which the members of a gang find one another: what is asked of it and what it answers. Frozen data only.

A request is an event of an agent, its reply a command to it; both are among ``polyrhythm.session.messages``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from polyrhythm.ids import GangId


class StoreOperation(StrEnum):
    """Operations of the rendezvous store."""

    SET = "set"
    GET = "get"
    """Answered only once the key exists."""
    ADD = "add"
    CHECK = "check"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """A rendezvous operation of a gang that is being formed.

    Attributes:
        gang: whose dictionary.
        request_id: answered by the reply of the same number.
        operation: what to do.
        key: of the dictionary.
        value: for SET.
        amount: for ADD.
    """

    gang: GangId
    request_id: int
    operation: StoreOperation
    key: str
    value: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReply:
    """Answer to a rendezvous request.

    Attributes:
        request_id: of the request.
        value: what the key holds; for ADD the decimal sum; empty for SET and DELETE.
        found: false where a key to DELETE or CHECK does not exist.
    """

    request_id: int
    value: bytes
    found: bool
