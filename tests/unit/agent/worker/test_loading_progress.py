"""Signs of a worker that is not ready yet: to its daemon, and to its log."""

from __future__ import annotations

from structlog.testing import capture_logs

from polyrhythm.session.events import Heartbeat
from polyrhythm_agent.worker.loading_progress import TOLD_INTERVAL_S, LoadingSigns


def test_signs_are_passed_on_no_more_often_than_needed() -> None:
    sent: list[Heartbeat] = []
    now_s = 0.0
    signs = LoadingSigns(sent.append, clock=lambda: now_s)
    with capture_logs() as lines:
        for index in range(161):
            now_s = index / 16  # exact in binary
            signs(f"piece {index}")
    assert [beat.sequence for beat in sent] == list(range(1, len(sent) + 1))
    assert len(sent) == 160 // 4 + 1  # the first sign that is SENT_INTERVAL_S or more after the last one
    assert len(lines) == 10 / TOLD_INTERVAL_S + 1
    assert lines[0]["doing"] == "piece 0"


def test_without_progress_there_are_no_signs() -> None:
    sent: list[Heartbeat] = []
    LoadingSigns(sent.append)
    assert sent == []
