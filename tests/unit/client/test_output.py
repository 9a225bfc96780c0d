"""File names, checks of the output, options as text, accounts of pictures."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError, WireError
from polyrhythm.ids import JobId
from polyrhythm.job.events import ImageChunk, ImageCompleted, JobAccepted, JobEvent, ReplanReason
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.job.request_checks import resolve
from polyrhythm.process.address import require_address
from polyrhythm_client.cli.output import Preview, check_output, output_path, preview_path, write_picture
from polyrhythm_client.cli.summary import followed_segments, measured_fleet, picture_summary
from polyrhythm_client.parsing import parse_size, parse_speeds
from polyrhythm_client.pictures import Picture, PictureAssembler
from tests.fakes.coordinator import AGENTS, FACTS, PNG, explanation, picture_events, plan, report


@pytest.mark.parametrize("text", ["12", "x", "0x8", "8x0", "-8x8", "8x8x8", "8.5x8", "", "9999999x8"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="size: "):
        parse_size(text)


def test_sizes() -> None:
    assert parse_size("128x192") == (128, 192)
    assert parse_size(" 8X16 ") == (8, 16)


@pytest.mark.parametrize("text", ["", "0", "1,0", "1,,0.5", "-1", "2", "nan", "inf", "fast"])
def test_speeds_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="speeds: "):
        parse_speeds(text)


def test_speeds() -> None:
    assert parse_speeds("1,0.5") == (1.0, 0.5)


@pytest.mark.parametrize("text", ["", "host:70000", "unix:relative"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="address: "):
        require_address(text)


def test_addresses() -> None:
    for text in ("coordinator.lan:50051", "[::1]:5", "unix:/run/polyrhythm.sock"):
        require_address(text)


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "none" / "a.png", tmp_path / "folder.png", tmp_path / "a.jpg", tmp_path / "a"):
        with pytest.raises(InvalidArgumentError, match="output: "):
            check_output(path)
    check_output(tmp_path / "a.png")
    check_output(None)


def test_what_is_no_ordinary_file_is_found_before_the_work_under_every_name_that_will_be_written(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a-1.png").mkdir()
    for path, count, message in (
        (tmp_path / "pipe.png", 1, "is no ordinary file"),
        (tmp_path / "a.png", 2, "is a folder"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"output: .* {message}"):
            check_output(path, count=count)
    check_output(tmp_path / "a.png")
    check_output(tmp_path / "pipe.png", count=2)


def test_a_folder_that_takes_no_file_and_a_name_that_is_too_long_are_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"output: .* is not writable"):
        check_output(Path("/proc/a.png"))  # its permissions would let root write
    longest = tmp_path / f"{'a' * 251}.png"
    check_output(longest)
    write_picture(longest, b"one")
    with pytest.raises(InvalidArgumentError, match=r"output: .* too long"):
        check_output(longest, count=11)
    assert [path.name for path in tmp_path.iterdir()] == [longest.name]


def test_a_name_made_from_a_prompt_is_short_in_bytes() -> None:
    path = output_path(None, prompt="𐌰" * 70, seed=5, index=0, count=1)
    assert path.name == f"{'𐌰' * 15}-5.png"


def test_names_of_files() -> None:
    asked = {"prompt": "Red apple, on a blue… background!", "seed": 5}
    assert output_path(None, **asked, index=0, count=1) == Path("red-apple-on-a-blue-background-5.png")
    assert output_path(None, prompt="🍎", seed=5, index=0, count=1) == Path("picture-5.png")
    assert output_path(Path("d/a.png"), **asked, index=0, count=1) == Path("d/a.png")
    assert output_path(Path("d/a.png"), **asked, index=2, count=3) == Path("d/a-2.png")
    assert preview_path(Path("d/a.png")) == Path("d/a.preview.png")
    assert preview_path(None) == Path("polyrhythm.preview.png")  # of no name that a user's own file is likely to have


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", b"one")
    write_picture(tmp_path / "a.png", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"two"
    with pytest.raises(InvalidArgumentError, match="output: "):
        write_picture(tmp_path / "none" / "a.png", b"")


REQUEST = ImageRequest(prompt="red apple", count=2)
ACCEPTED = JobAccepted(job=JobId("j"), image=resolve(REQUEST, FACTS, 7), fingerprint=FACTS.fingerprint)


def assemble(events: list[JobEvent]) -> list[Picture]:
    assembler = PictureAssembler()
    return [picture for event in events if (picture := assembler.take(event)) is not None]


def test_chunks_make_a_picture() -> None:
    pictures = assemble(picture_events(REQUEST))
    assert [(picture.png[:33], picture.png[-len(PNG) + 33 :]) for picture in pictures] == [(PNG[:33], PNG[33:])] * 2
    assert [picture.report.seed for picture in pictures] == [7, 8]
    assert [picture.spec for picture in pictures] == [resolve(REQUEST, FACTS, 7).with_seed(seed) for seed in (7, 8)]
    assert pictures[0].explanation == explanation()
    assert [record.agent for record in pictures[0].recipe.agents] == ["local-0", "local-1"]


def chunk(offset: int, data: bytes, *, last: bool) -> ImageChunk:
    return ImageChunk(image_index=0, offset=offset, data=data, last=last)


def test_a_picture_that_is_decoded_again_begins_anew() -> None:
    done = ImageCompleted(report=report(plan(), 7))
    again = [chunk(0, PNG[:40], last=False), chunk(40, PNG[40:], last=True)]
    (picture,) = assemble([ACCEPTED, chunk(0, b"lost", last=False), *again, done])
    assert picture.png.endswith(PNG[33:])


@pytest.mark.parametrize(
    "events",
    [
        [chunk(1, b"x", last=True)],
        [chunk(0, b"ab", last=False), chunk(3, b"x", last=True)],
        [chunk(0, b"ab", last=False), ImageCompleted(report=report(plan(), 7))],
        [ImageCompleted(report=report(plan(), 7))],
        [chunk(0, b"no picture", last=True), ImageCompleted(report=report(plan(), 7))],
    ],
)
def test_chunks_that_do_not_fit_are_refused(events: list[JobEvent]) -> None:
    with pytest.raises(WireError):
        assemble([ACCEPTED, *events])


def test_a_picture_of_a_job_that_nobody_accepted_is_refused() -> None:
    with pytest.raises(WireError, match="before its job was accepted"):
        assemble([chunk(0, PNG, last=True), ImageCompleted(report=report(plan(), 7))])


def picture_of(image: ImageSpec) -> Picture:
    return Picture(png=PNG, spec=image, report=report(plan(), image.seed))


def test_the_account_of_a_picture() -> None:
    replans = {ReplanReason.SPEED_CHANGED: 2}
    image = resolve(ImageRequest(prompt="red apple", negative_prompt="blur"), FACTS, 9)
    picture = replace(picture_of(image), explanation=explanation(), replans=replans)
    found = json.loads(json.dumps(picture_summary(picture, Path("a.png"))))
    assert found["image"] == "a.png"
    for asked in ("model", "prompt", "negative_prompt", "width_px", "height_px", "steps", "guidance", "sampler"):
        assert found[asked] == getattr(image, asked)
    assert (found["job"], found["image_index"], found["seed"], found["quality"]) == ("job-1", 0, 9, image.quality)
    assert (found["replans"], found["fingerprint"]) == ({"speed_changed": 2}, FACTS.fingerprint)
    assert found["emulated"] is True
    assert found["seconds"] == {"queued": 0.0, "encode": 0.1, "denoise": 1.3, "decode": 0.2}
    assert found["predicted_seconds"] == {"encode": 0.1, "denoise": 1.2, "decode": 0.2}
    assert found["steps_taken"] == {"fast_rows": 8, "slow_rows": 6}
    assert [(s["begin_step"], s["end_step"], s["exchange"]) for s in found["segments"]] == [
        (0, 4, "synchronous"),
        (4, 8, "displaced"),
    ]
    slow = found["agents"][1]
    assert (slow["agent"], slow["steps"], slow["busy_s"], slow["wait_s"], slow["sent_bytes"], slow["emulated"]) == (
        *("local-1", 6, 1.0, 0.2, 4096, True),
    )
    assert slow["device"] == asdict(picture.report.agents[1].device)
    assert slow["rows"][1] == {"begin_step": 4, "end_step": 8, "rows": {"begin": 8, "end": 16}, "stride": 2}


def test_what_the_plan_rested_on_is_told() -> None:
    message = explanation()
    picture = replace(picture_of(resolve(REQUEST, FACTS, 9)), explanation=message)
    found = json.loads(json.dumps(measured_fleet(picture, AGENTS)))
    assert found["model"]["fingerprint"] == FACTS.fingerprint
    assert [profile["agent"] for profile in found["profiles"]] == [profile.agent for profile in message.profiles]
    assert len(found["links"]) == len(message.links)
    devices = [(device["agent"], device["card"], device["emulated_speed"]) for device in found["devices"]]
    assert devices == [("local-0", "a processor", None), ("local-1", "a processor", 0.5)]
    assert found["devices"][0]["dtype"] == "float32"
    bare = measured_fleet(replace(picture, explanation=None), ())
    assert bare == {"model": None, "profiles": [], "links": [], "devices": []}


def test_segments_of_a_plan_end_where_the_next_plan_began() -> None:
    first = plan()
    (_, displaced) = plan(("local-0",)).segments
    second = replace(plan(("local-0",)), begin_step=6, segments=(replace(displaced, begin_step=6),))
    followed = followed_segments((first, second))
    assert [(s.begin_step, s.end_step, len(s.agents)) for s in followed] == [(0, 4, 2), (4, 6, 2), (6, 8, 1)]


def test_a_preview_lasts_as_long_as_its_job(tmp_path: Path) -> None:
    def fail() -> None:
        with Preview(tmp_path / "a.png") as preview:
            preview.write(b"first")
            preview.write(b"second")
            assert (tmp_path / "a.preview.png").read_bytes() == b"second"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_that_name_stays_where_no_preview_came(tmp_path: Path) -> None:
    (tmp_path / "a.preview.png").write_bytes(b"mine")
    with Preview(tmp_path / "a.png"):
        pass
    assert (tmp_path / "a.preview.png").read_bytes() == b"mine"
