"""The ``polyrhythm`` command as a user types it, against a server that speaks the real protocol."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread

import pytest

from polyrhythm import __version__
from polyrhythm.errors import NoAgentsError
from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.job.image import ImageRequest, Objective, Quality
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.gang_plan import steps_taken
from polyrhythm_client.cli.main import app
from polyrhythm_client.recipes.png import read_texts
from polyrhythm_client.recipes.recipe import AGENTS_KEY, PLAN_KEY, PROMPT_KEY, SEED_KEY, STEPS_KEY, WEIGHTS_KEY
from tests.fakes.coordinator import FACTS, PNG, FakeCoordinator, explanation, plan, serving, software

LEFT_OUT = f"note: old takes no part: {explanation().exclusions[0].message}\n"
"""What the fake coordinator's plan makes the commands say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process, in an empty folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str], address: str, folder: Path) -> None:
        self.folder = folder
        self._capsys = capsys
        self._address = address

    def __call__(self, *arguments: str, address: str | None = None) -> Result:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            app([*arguments, "--address", address or self._address])
        said = self._capsys.readouterr()
        assert "Traceback" not in said.err
        assert isinstance(caught.value.code, int)
        return Result(code=caught.value.code, out=said.out, err=said.err)


@pytest.fixture
def fake() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def shell(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    monkeypatch.chdir(tmp_path)
    with serving(fake) as address:
        yield Shell(capsys, address, tmp_path)


def test_generate_writes_a_picture_that_says_how_it_was_made(shell: Shell, fake: FakeCoordinator) -> None:
    result = shell(
        *("generate", "red apple", "-o", "a.png", "--negative", "blur", "--size", "64x128", "--steps", "8"),
        *("--seed", "5", "--guidance", "2", "--sampler", "ddim", "--quality", "exact"),
    )
    assert (result.code, result.err) == (0, LEFT_OUT)
    assert result.out.startswith("a.png: 64x128, 8 steps on fast rows and 6 on slow ones, seed 5")
    assert "emulated" in result.out
    assert fake.requests == [
        ImageRequest(
            prompt="red apple",
            negative_prompt="blur",
            width_px=64,
            height_px=128,
            steps=8,
            seed=5,
            guidance=2.0,
            sampler=Sampler.DDIM,
            quality=Quality.EXACT,
        )
    ]
    content = (shell.folder / "a.png").read_bytes()
    texts = read_texts(content)
    assert (texts[PROMPT_KEY], texts[SEED_KEY], texts[STEPS_KEY]) == ("red apple", "5", str(steps_taken((plan(),))))
    assert json.loads(texts[PLAN_KEY]) == json.loads(json.dumps(asdict(plan())))
    assert texts[WEIGHTS_KEY] == FACTS.fingerprint
    agents = json.loads(texts[AGENTS_KEY])
    assert [(agent["emulated_speed"], agent["dtype"]) for agent in agents] == [(None, "float32"), (0.5, "float32")]
    assert {"name": "torch", "version": "2.0"} in agents[0]["software"]
    assert content.endswith(PNG[33:])


def test_generate_with_plan_makes_the_same_file_again(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "red apple", "-o", "a.png", "--size", "64x128", "--guidance", "2").code == 0
    assert shell("generate", "--plan", "a.png", "-o", "b.png").code == 0
    assert (shell.folder / "a.png").read_bytes() == (shell.folder / "b.png").read_bytes()
    again = fake.requests[1]
    assert (again.prompt, again.seed, again.width_px, again.guidance, again.plan) == ("red apple", 7, 64, 2.0, plan())


def retrained(agents: tuple[AgentView, ...]) -> tuple[AgentView, ...]:
    facts = replace(FACTS, fingerprint="beef")
    return tuple(replace(view, models=(facts,)) for view in agents)


def test_a_picture_of_other_weights_is_not_made_again(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "red apple", "-o", "a.png").code == 0
    fake.agents = retrained(fake.agents)
    result = shell("generate", "--plan", "a.png", "-o", "b.png")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: plan: its picture was made with other weights: ")
    assert "demo has the fingerprint f00d in the file, beef on local-0" in result.err
    assert len(fake.requests) == 1
    assert not (shell.folder / "b.png").exists()


def test_weights_that_are_loaded_late_are_checked_too(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "red apple", "-o", "a.png").code == 0
    loaded = retrained(fake.agents)
    fake.agents = tuple(replace(view, state=AgentState.LOADING, models=()) for view in fake.agents)
    fake.agents_at_work = loaded
    result = shell("generate", "--plan", "a.png", "-o", "b.png")
    assert result.code == 2
    assert "beef on local-0" in result.err
    assert not (shell.folder / "b.png").exists()


def test_the_plan_of_other_weights_is_explained_with_a_note(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "red apple", "-o", "a.png").code == 0
    fake.agents = retrained(fake.agents)
    result = shell("plan", "--plan", "a.png", "--json")
    assert result.code == 0
    assert "demo has the fingerprint f00d in the file, beef on local-0" in result.err
    (shell.folder / "plan.json").write_text(result.out)
    assert shell("generate", "red apple", "--plan", "plan.json", "-o", "b.png").code == 0


def test_other_software_is_told(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "red apple", "-o", "a.png").code == 0
    first, second = fake.agents
    fake.agents = (first, replace(second, software=software(torch="2.1")))
    result = shell("generate", "--plan", "a.png", "-o", "b.png")
    assert result.code == 0
    assert "note:" in result.err
    assert "torch 2.0 in the file, 2.1 on local-1" in result.err
    assert "local-0" not in result.err


def test_options_win_over_the_file(shell: Shell, fake: FakeCoordinator) -> None:
    shell("generate", "red apple", "-o", "a.png")
    assert shell("generate", "green pear", "--plan", "a.png", "-o", "b.png", "--seed", "8").code == 0
    assert (fake.requests[1].prompt, fake.requests[1].seed, fake.requests[1].plan) == ("green pear", 8, plan())


def test_what_is_unusual_and_allowed_reaches_the_coordinator(shell: Shell, fake: FakeCoordinator) -> None:
    odd = ("--seed", str(2**64 - 1), "--guidance", "0", "--steps", "1000")
    assert shell("generate", "", "-o", "a.png", *odd).code == 0
    (asked,) = fake.requests
    assert (asked.prompt, asked.seed, asked.guidance, asked.steps) == ("", 2**64 - 1, 0.0, 1000)
    assert read_texts((shell.folder / "a.png").read_bytes())[SEED_KEY] == str(2**64 - 1)


def test_what_becomes_of_a_long_prompt_is_asked_for_and_asked_for_again(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "p", "-o", "a.png", "--long-prompt", "chunk").code == 0
    assert shell("generate", "--plan", "a.png", "-o", "b.png").code == 0
    assert [asked.long_prompt for asked in fake.requests] == [LongPrompt.CHUNK, LongPrompt.CHUNK]
    (shell.folder / "plan.json").write_text(shell("plan", "p", "--long-prompt", "cut", "--json").out)
    assert shell("generate", "--plan", "plan.json", "-o", "c.png").code == 0
    assert fake.requests[-1].long_prompt is LongPrompt.CUT


def test_an_explained_plan_can_be_followed(shell: Shell, fake: FakeCoordinator) -> None:
    (shell.folder / "plan.json").write_text(shell("plan", "p", "--json").out)
    assert shell("generate", "p", "--plan", "plan.json", "-o", "a.png").code == 0
    assert fake.requests[1].plan == plan()


def test_json_is_one_object_on_standard_output(shell: Shell) -> None:
    result = shell("generate", "red apple", "-o", "a.png", "--json")
    (found,) = json.loads(result.out)["images"]
    assert (result.code, result.err) == (0, LEFT_OUT)
    assert (found["image"], found["seed"], found["emulated"]) == ("a.png", 7, True)
    assert found["seconds"]["denoise"] == 1.3
    assert [agent["corrections"] for agent in found["agents"]] == [0, 2]
    assert found["notices"] == []


def test_several_pictures_are_numbered(shell: Shell) -> None:
    result = shell("generate", "red apple", "-o", "a.png", "--count", "2", "--seed", "3", "--json")
    assert [image["image"] for image in json.loads(result.out)["images"]] == ["a-0.png", "a-1.png"]
    assert [read_texts((shell.folder / f"a-{index}.png").read_bytes())[SEED_KEY] for index in (0, 1)] == ["3", "4"]


def test_pictures_that_end_out_of_order_have_the_files_of_their_numbers(shell: Shell, fake: FakeCoordinator) -> None:
    fake.backwards = True
    result = shell("generate", "red apple", "-o", "a.png", "--count", "3", "--seed", "3", "--json")
    assert [image["image"] for image in json.loads(result.out)["images"]] == ["a-0.png", "a-1.png", "a-2.png"]
    seeds = [read_texts((shell.folder / f"a-{index}.png").read_bytes())[SEED_KEY] for index in range(3)]
    assert seeds == ["3", "4", "5"]


def test_the_objective_reaches_the_coordinator(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "p", "-o", "a.png", "--objective", "throughput").code == 0
    assert shell("plan", "p", "--objective", "latency", "--count", "3").code == 0
    assert [(asked.objective, asked.count) for asked in fake.requests] == [
        (Objective.THROUGHPUT, 1),
        (Objective.LATENCY, 3),
    ]
    result = shell("generate", "--plan", "a.png", "-o", "b.png", "--objective", "throughput")
    assert (result.code, "objective: cannot be given with a plan" in result.err) == (2, True)


def test_a_name_is_made_from_prompt_and_seed(shell: Shell) -> None:
    assert shell("generate", "Red apple!").code == 0
    assert [path.name for path in shell.folder.iterdir()] == ["red-apple-7.png"]


def test_no_preview_is_left_behind(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("generate", "p", "-o", "a.png", "--preview-every", "4").code == 0
    fake.error = NoAgentsError("all are gone")
    assert shell("generate", "p", "-o", "b.png", "--preview-every", "4").code == 1
    assert not list(shell.folder.glob("*preview*"))


@pytest.mark.parametrize(
    "arguments",
    [("generate", "p"), ("generate", "p", "--count", "2"), ("plan", "p"), ("drain", "nobody"), ("agents",)],
    ids=" ".join,
)
def test_a_failure_is_one_object_too(shell: Shell, fake: FakeCoordinator, arguments: tuple[str, ...]) -> None:
    fake.error = NoAgentsError("all are gone")
    nowhere = "127.0.0.1:1" if arguments == ("agents",) else None
    result = shell(*arguments, "--json", address=nowhere)
    codes = {"drain": "not_found", "agents": "unreachable"}
    message = json.loads(result.out)
    assert result.code > 0
    assert message["error"]["code"] == codes.get(arguments[0], "no_agents")
    assert message["error"]["message"] in result.err


def test_bad_input_is_told_by_field_in_json(shell: Shell) -> None:
    result = shell("generate", "p", "--steps", "0", "--size", "128", "--json")
    assert result.code == 2
    message = json.loads(result.out)["error"]
    assert message["code"] == "invalid_argument"
    assert [wrong["field"] for wrong in message["fields"]] == ["size"]


def test_a_printed_plan_needs_no_prompt(shell: Shell, fake: FakeCoordinator) -> None:
    printed = shell("plan", "red apple", "--guidance", "2", "--negative", "blur", "--sampler", "ddim", "--json").out
    (shell.folder / "plan.json").write_text(printed)
    assert shell("generate", "--plan", "plan.json", "-o", "a.png").code == 0
    asked = fake.requests[1]
    assert (asked.prompt, asked.negative_prompt, asked.guidance) == ("red apple", "blur", 2.0)
    assert (asked.sampler, asked.plan) == (Sampler.DDIM, plan())


def test_what_is_no_picture_is_told_and_not_written(shell: Shell, fake: FakeCoordinator) -> None:
    fake.png = b"\0" * 60
    result = shell("generate", "red apple", "-o", "a.png")
    assert result.code == 1
    assert result.err.endswith(
        "error: image_chunk: what the fleet made is no picture: the file does not begin with the PNG signature\n"
    )
    assert list(shell.folder.iterdir()) == []


def test_plan_explains(shell: Shell) -> None:
    result = shell("plan", "red apple")
    assert result.code == 0
    for words in ("2 agents, strides 1, 2", "solo local-0", "left out: old (too slow)", "rows 0..8 of 16", "emulated"):
        assert words in result.out
    printed = json.loads(shell("plan", "red apple", "--json").out)
    assert printed.pop("request")["prompt"] == "red apple"
    assert printed == json.loads(json.dumps(asdict(explanation())))


def test_agents_are_listed(shell: Shell, fake: FakeCoordinator) -> None:
    result = shell("agents")
    assert result.code == 0
    assert "local-1" in result.out
    assert "emulated 0.5" in result.out
    found = json.loads(shell("agents", "--json").out)
    assert [agent["name"] for agent in found["agents"]] == ["local-0", "local-1"]
    fake.agents = ()
    assert "no agent is connected" in shell("agents").out


def test_an_agent_is_drained_and_put_back(shell: Shell, fake: FakeCoordinator) -> None:
    assert shell("drain", "local-1").out == "local-1: drained\n"
    assert "drained" in shell("agents").out
    assert json.loads(shell("drain", "local-1", "--undo", "--json").out)["agent"]["state"] == "ready"
    fake.drained_earlier = "away"
    assert shell("drain", "away").out == "away: not connected; stays drained when it is\n"
    unknown = shell("drain", "nobody")
    assert unknown.code == 2
    assert "agent 'nobody' does not exist; known: local-0, local-1" in unknown.err


BAD_INPUT = {
    "no prompt": (("generate",), "prompt"),
    "size": (("generate", "p", "--size", "128"), "size"),
    "size of the model": (("generate", "p", "--size", "129x128"), "size"),
    "steps": (("generate", "p", "--steps", "0"), "steps"),
    "guidance": (("generate", "p", "--guidance", "-0.5"), "guidance"),
    "seed": (("generate", "p", "--seed", "-1"), "seed"),
    "seed beyond the largest": (("generate", "p", "--seed", str(2**64)), "seed"),
    "seeds that would count beyond it": (("generate", "p", "--seed", str(2**64 - 1), "--count", "2"), "seed"),
    "count": (("generate", "p", "--count", "0"), "count"),
    "preview": (("generate", "p", "--preview-every", "-1"), "preview-every"),
    "sampler": (("generate", "p", "--sampler", "heun"), "sampler"),
    "quality": (("generate", "p", "--quality", "best"), "quality"),
    "steps that are no number": (("generate", "p", "--steps", "many"), "steps"),
    "output folder": (("generate", "p", "-o", "none/a.png"), "output"),
    "output suffix": (("generate", "p", "-o", "a.jpg"), "output"),
    "plan file": (("generate", "p", "--plan", "none.png"), "plan"),
    "plan file of too long a name": (("generate", "p", "--plan", "a" * 5000), "plan"),
    "output of too long a path": (("generate", "p", "-o", "a" * 5000 + "/a.png"), "output"),
    "output of too long a name": (("generate", "p", "-o", "a" * 5000 + ".png"), "output"),
    "speeds with an address": (("generate", "p", "--speeds", "1,0.5"), "speeds"),
    "speed of zero": (("generate", "p", "--speeds", "1,0"), "speeds"),
    "prompt that is no text": (("generate", "p\udcff"), "prompt"),
    "plan without prompt": (("plan",), "prompt"),
}


@pytest.mark.parametrize(("arguments", "field"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_names_the_field(shell: Shell, arguments: tuple[str, ...], field: str) -> None:
    result = shell(*arguments)
    assert result.code == 2
    assert field in result.err
    assert result.out == ""
    assert list(shell.folder.iterdir()) == []


def test_what_the_fleet_refuses_is_said(shell: Shell, fake: FakeCoordinator) -> None:
    result = shell("generate", "p", "--model", "sdxl")
    assert (result.code, result.err) == (2, "error: model 'sdxl' does not exist; known: demo\n")
    fake.error = NoAgentsError("no agent is connected")
    result = shell("generate", "p")
    assert (result.code, result.err) == (1, LEFT_OUT + "error: no agent is connected\n")


def test_an_address_where_nobody_listens(shell: Shell) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        for command in (("generate", "p"), ("plan", "p"), ("agents",)):
            result = shell(*command, address=address)
            assert result.code == 1
            assert f"error: address: the coordinator at {address} cannot be reached" in result.err


def test_the_command_starts_without_the_heavy_parts() -> None:
    code = (
        "import sys, polyrhythm_client.cli.main;"
        "sys.exit(sorted({'grpc', 'torch', 'numpy', 'google.protobuf', 'PIL'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        app(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"polyrhythm {__version__}\n"


@pytest.mark.parametrize("command", ["generate", "plan"])
def test_ctrl_c_is_heeded_while_a_plan_is_waited_for(shell: Shell, tmp_path: Path, command: str) -> None:
    pipe = tmp_path / "plan.json"
    os.mkfifo(pipe)
    ended = Event()

    def write() -> None:
        with pipe.open("wb"):  # opened once the command reads
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(10)

    writer = Thread(target=write)
    writer.start()
    result = shell(command, "a red apple", "--plan", str(pipe))
    in_time = writer.is_alive()
    ended.set()
    writer.join()
    assert (result.code, result.err, in_time) == (130, "interrupted\n", True)
