"""A daemon's rules in the two states from which most of its stories begin."""

from __future__ import annotations

import pytest

from polyrhythm.session.events import EpochJoined
from polyrhythm_agent.daemon.rules.signals import CoordinatorConnected, TimePassed
from tests.worlds.rules_script import EPOCH, READY, Script, start_epoch


@pytest.fixture
def script() -> Script:
    """A daemon with a coordinator and a ready worker."""
    made = Script().feed(TimePassed(), CoordinatorConnected()).say(READY)
    made.take()
    made.notes.clear()
    return made


@pytest.fixture
def running(script: Script) -> Script:
    """One whose worker steps."""
    script.command(start_epoch()).say(EpochJoined(epoch=EPOCH, encode_s=0.0, links=()))
    script.take()
    return script
