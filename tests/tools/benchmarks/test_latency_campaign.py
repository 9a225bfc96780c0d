"""The order of the study: measured on one fleet, predicted, run on another; and the files that come of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from latency_study.campaign import PROBE_STEPS, Job, PlanNotFollowedError, measure, round_order, run_rounds
from latency_study.cases import Case, Group, Load, random_fleets, speed_pair, speed_pairs
from latency_study.plot import draw, note_of
from latency_study.report import write_markdown
from latency_study.results import ResultFile, read_summary
from latency_study.study import Extent, Findings, run_study
from latency_study.summary import summarise
from latency_study.variants import Variant, plan_variants
from machine import MachineRecord, read_machine
from result_document import OtherSettingsError

from polyrhythm.errors import InternalError
from polyrhythm.model.request_choices import Sampler
from tests.tools.benchmarks.study_fleet import LINK, FleetYard

JOB = Job(steps=20, sampler=Sampler.DDIM)
HALF = speed_pair(0.5)
SETTINGS = {"seed": "s", "repetitions": 2, "prompts": 2, "steps": 20, "sampler": "ddim", "model": "tiny"}
MACHINE = MachineRecord(
    cpu_model="cpu",
    cores=2,
    memory_bytes=1 << 34,
    virtual=False,
    kernel="6",
    python="CPython 3",
    packages={"torch": "2"},
    commit=None,
    changed_files=0,
    background_cores=0.0,
)


async def study(path: Path, yard: FleetYard, *, drawn: int = 1, prompts: int = 2) -> tuple[Findings, list[str]]:
    said: list[str] = []
    extent = Extent(cases=speed_pairs("s", drawn), repetitions=2, prompts=prompts, seed="s")
    results = ResultFile(path, machine=MACHINE.as_json(), settings=SETTINGS)
    return await run_study(extent, JOB, yard.open, results, said.append), said


async def test_measuring_makes_a_gang_and_takes_profiles_and_links_from_the_fleet() -> None:
    yard = FleetYard()
    measured = await measure(yard.open, HALF, JOB)
    assert measured.agents == ("local-0", "local-1")
    assert set(measured.links.values()) == {LINK}
    assert len(yard.fleets) == 1
    assert yard.open_now == 0
    assert [request.steps for request in yard.fleets[0].requests] == [PROBE_STEPS]


async def test_rounds_are_interleaved_and_the_warm_up_round_does_not_count() -> None:
    yard = FleetYard()
    measured = await measure(yard.open, HALF, JOB)
    planned = plan_variants(measured, JOB.image(measured))
    runs = [run async for run in run_rounds(yard.open, HALF, JOB, planned, repetitions=3, seed="s")]
    assert len(yard.fleets[1].requests) == 4 * len(Variant)
    assert sorted(runs[: len(Variant)], key=lambda run: run.variant) != runs[: len(Variant)]
    for index in range(3):
        of_round = runs[index * len(Variant) : (index + 1) * len(Variant)]
        assert {run.round_index for run in of_round} == {index}
        assert {run.core_wait_s for run in of_round} == {0.25}
        assert sorted(run.variant for run in of_round) == sorted(Variant)


async def test_a_job_that_was_begun_anew_does_not_count_and_says_why() -> None:
    measured = await measure(FleetYard().open, HALF, JOB)
    planned = plan_variants(measured, JOB.image(measured))
    warm_up = len(Variant)
    yard = FleetYard(losing=frozenset({warm_up, warm_up + 1}))
    runs = [run async for run in run_rounds(yard.open, HALF, JOB, planned, repetitions=1, seed="s")]
    assert len(yard.fleets[0].requests) == 2 * len(Variant) + 2
    assert [len(run.discarded) for run in runs] == [2] + [0] * (len(Variant) - 1)
    assert runs[0].discarded[0] == "local-1 failed: it hangs" or runs[0].variant is Variant.SOLO


async def test_a_fleet_that_never_follows_its_plan_ends_the_study() -> None:
    measured = await measure(FleetYard().open, HALF, JOB)
    planned = plan_variants(measured, JOB.image(measured))
    with pytest.raises(PlanNotFollowedError, match="it hangs"):
        async for _ in run_rounds(
            FleetYard(losing=frozenset(range(9))).open, HALF, JOB, planned, repetitions=1, seed="s"
        ):
            pass


async def test_an_attempt_that_does_not_count_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    findings, _ = await study(path, FleetYard(), drawn=0, prompts=0)
    document, rows, qualities = read_summary(path)
    document["cases"]["1 : 0.4"]["runs"][0]["discarded"] = ["local-1 failed: it hangs"]
    write_markdown(tmp_path / "latency.md", document, rows, qualities, findings.aims)
    assert "round 1: local-1 failed: it hangs" in (tmp_path / "latency.md").read_text()


async def test_a_whole_study_finds_what_the_fleets_do(tmp_path: Path) -> None:
    yard = FleetYard(slowness=1.1)
    findings, said = await study(tmp_path / "latency.json", yard)
    # A fleet to measure and one to run for each of 3 pairs, one for the pictures of each of the named ones.
    assert [len(fleet.speeds) for fleet in yard.fleets] == [2] * 8
    assert list(yard.fleets[5].speeds.values()) == [1.0, 1.0]
    assert len(findings.rows) == 3 * len(Variant)
    assert {round(row.prediction_error, 6) for row in findings.rows if row.drawn} == {round(1 / 1.1 - 1, 6)}
    assert all(row.bytes_as_predicted for row in findings.rows)
    assert all(row.to_equal == 1.0 for row in findings.rows if row.variant is Variant.EQUAL)
    assert all(0 < row.utilisation.median <= 1 for row in findings.rows)
    assert {one.case for one in findings.qualities} == {"1 : 0.5", "1 : 0.4"}
    assert any("expected duration" in line for line in said)
    document = json.loads((tmp_path / "latency.json").read_text())
    assert document["pictures_compared_across_speeds"] == {"compared": 32, "identical": 32}


async def test_predictions_lie_on_disk_before_the_variants_run(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    seen: list[dict[str, Any]] = []

    class Watched(FleetYard):
        def open(self, case: Case) -> Any:
            if len(self.fleets) == 1:
                seen.append(json.loads(path.read_text()))
            return super().open(case)

    await study(path, Watched(), drawn=0, prompts=0)
    (before,) = seen
    assert before["cases"]["1 : 0.5"]["variants"]["balanced"]["prediction"]["denoise_s"] > 0
    assert "runs" not in before["cases"]["1 : 0.5"]
    after = json.loads(path.read_text())["cases"]["1 : 0.5"]
    assert after["predicted_at"] <= after["ran_until"]
    assert len(after["runs"]) == 2 * len(Variant)


async def test_a_result_can_be_shown_again(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    findings, _ = await study(path, FleetYard())
    document, rows, qualities = read_summary(path)
    assert rows == findings.rows
    assert qualities == findings.qualities
    draw(tmp_path / "latency.png", rows, qualities, note_of(document))
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
    write_markdown(tmp_path / "latency.md", document, rows, qualities, findings.aims)
    page = (tmp_path / "latency.md").read_text()
    assert "(latency.png)" in page
    assert page.count("| balanced |") == 3


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="no result file"):
        read_summary(path)


def test_the_record_of_the_machine_names_no_host_and_no_path() -> None:
    record = json.dumps(read_machine().as_json())
    assert Path(__file__).parts[1] + "/" not in record
    assert Path("/etc/hostname").read_text().strip() not in record if Path("/etc/hostname").is_file() else True


async def test_the_load_stands_still_while_the_baseline_is_measured() -> None:
    case = Case(group=Group.OCCUPANCY, speeds=(1.0, 1.0), load=Load(device=1, share=0.5))
    yard = FleetYard()
    measured = await measure(yard.open, case, JOB)
    assert measured.profiles[1].forward_s(16) == pytest.approx(2 * measured.profiles[0].forward_s(16))
    planned = plan_variants(measured, JOB.image(measured))
    runs = [run async for run in run_rounds(yard.open, case, JOB, planned, repetitions=1, seed="s")]
    order = [variant for index in (-1, 0) for variant in round_order("s", case, index)]
    assert yard.fleets[1].load_running == [variant is not Variant.SOLO for variant in order]
    rows = {row.variant: row for row in summarise(case, planned, runs, dict.fromkeys(Variant, 1.0))}
    assert rows[Variant.EQUAL].core_shares == (1.0, 0.8)
    busy = rows[Variant.ROWS]
    assert busy.utilisation.median < busy.member_utilisation.median
    assert rows[Variant.SOLO].member_utilisation.median == pytest.approx(2 * rows[Variant.SOLO].utilisation.median)


async def test_a_fleet_of_other_speeds_is_refused() -> None:
    class Wrong(FleetYard):
        def open(self, case: Case) -> Any:
            return super().open(speed_pair(0.7))

    with pytest.raises(InternalError, match="asked for speeds"):
        await measure(Wrong().open, HALF, JOB)


async def test_what_would_end_after_the_limit_is_left_out_and_named(tmp_path: Path) -> None:
    path, said, yard, now_s = tmp_path / "latency.json", list[str](), FleetYard(), iter(range(0, 10_000, 100))
    cases = random_fleets("s", 6)
    extent = Extent(cases=cases, repetitions=1, prompts=0, seed="s", fleet_repetitions=1, time_limit_s=450)
    results = ResultFile(path, machine=MACHINE.as_json(), settings=SETTINGS)
    findings = await run_study(extent, JOB, yard.open, results, said.append, clock=lambda: next(now_s))
    document = json.loads(path.read_text())
    ran = {row.case for row in findings.rows}
    assert 0 < len(ran) < len(cases)
    assert set(document["not_run"]) == {case.name for case in cases} - ran
    loaded, rows, qualities = read_summary(path)
    write_markdown(tmp_path / "latency.md", loaded, rows, qualities, findings.aims)
    page = (tmp_path / "latency.md").read_text()
    assert all(f"* {name}: would have ended" in page for name in document["not_run"])


async def test_a_run_that_was_cut_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    settings = {"extent": "whole"}
    whole = Extent(cases=speed_pairs("s", 1), repetitions=1, prompts=0, seed="s")

    class Cut(FleetYard):
        def open(self, case: Case) -> Any:
            if len(self.fleets) == 3:
                raise InternalError("the power is gone")
            return super().open(case)

    first = ResultFile(path, machine=MACHINE.as_json(), settings=settings)
    with pytest.raises(InternalError, match="power"):
        await run_study(whole, JOB, Cut().open, first, lambda _: None)
    before = json.loads(path.read_text())
    assert len(before["summary"]) == len(Variant)
    assert list(before["cases"]) == ["1 : 0.5", "1 : 0.4"]  # the second one's predictions alone
    resumed = ResultFile(path, machine=MACHINE.as_json(), settings=settings, resume=True)
    yard = FleetYard()
    findings = await run_study(whole, JOB, yard.open, resumed, lambda _: None)
    assert len(yard.fleets) == 4
    assert [row.case for row in findings.rows[:: len(Variant)]] == [case.name for case in whole.cases]
    after = json.loads(path.read_text())
    assert after["cases"]["1 : 0.5"] == before["cases"]["1 : 0.5"]
    assert len(after["resumed_at"]) == 1
    with pytest.raises(OtherSettingsError, match="was made with"):
        ResultFile(path, machine=MACHINE.as_json(), settings={"extent": "other"}, resume=True)
