"""Pictures that nothing is done about until something changes: when they rest, and when they are looked at again."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from polyrhythm_coordinator.scheduling.fleet.situation import situation
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Held, Preparing, Shelved
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def hold(tx: Transaction, picture: Picture, *, until_s: float = inf) -> None:
    """Lets a picture wait until the situation changes, or until a time; others wait behind it."""
    _prepare_again(tx, picture)
    tx.put_picture(replace(picture, phase=Held(situation=situation(tx.state), until_s=until_s)))


def shelve(tx: Transaction, picture: Picture) -> None:
    """Lets others go past a picture of which all that could make it are drained, until the situation changes.

    Or until somebody is not expected back any more, without whom it may never be made.
    """
    _prepare_again(tx, picture)
    returning = (tx.state.departed[name] for name in tx.state.returning(tx.now_s))
    until_s = min((departure.at_s + tx.limits.return_grace_s for departure in returning), default=inf)
    tx.put_picture(replace(picture, phase=Shelved(situation=situation(tx.state), until_s=until_s)))


def is_over(tx: Transaction, phase: Held | Shelved) -> bool:
    """Whether a picture that rests is to be looked at again."""
    return tx.now_s >= phase.until_s or phase.situation != situation(tx.state)


def _prepare_again(tx: Transaction, picture: Picture) -> None:
    """What was kept free for it counts as free again, before the situation is looked at."""
    tx.put_picture(replace(picture, phase=Preparing(since_s=tx.now_s)))
