"""A process that has imported what is slow to import, and forks itself for each run of pytest that it is asked for.

Run by its path and by nothing else: ``python -P fork_server.py FD``. It computes nothing, starts no thread and knows no
module of the project, so every fork finds the project's modules in its own copy only. ``forks`` is its other side.

A request is one message over the inherited socket FD, with a socket that the fork answers on: a line with its process
id at once, one with the outcome at the end.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest
import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel, PixArtTransformer2DModel, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

MESSAGE_BYTES = 1 << 16
PROJECT_MODULES = ("polyrhythm", "polyrhythm_agent", "polyrhythm_client", "polyrhythm_coordinator", "tests")
NO_FORK_WITH = (*PROJECT_MODULES, "grpc")
"""gRPC starts threads of its own; the others must come from a copy."""
SLOW_IMPORTS = (
    *(hypothesis, pytest, torch, single_file_utils),
    *(AutoencoderKL, DiTTransformer2DModel, PixArtTransformer2DModel, UNet2DConditionModel),
    *(CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer),
)
"""Named one by one, since diffusers and transformers import each of them when it is first asked for."""


def assert_forkable() -> None:
    """Refuses to fork a process with threads, whose locks no fork would ever see released, or with project modules."""
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, f"{len(threads)} threads before a fork"
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in NO_FORK_WITH)
    assert not loaded, f"imported before a fork: {loaded}"


def serve(requests: socket.socket) -> None:
    """Forks for every request until the other side hangs up; then ends the forks that are left."""
    running: set[int] = set()
    try:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 1)
            if not request:
                return
            answers = socket.socket(fileno=descriptors[0])
            running -= {pid for pid in running if os.waitpid(pid, os.WNOHANG)[0]}
            assert_forkable()
            pid = os.fork()
            if pid == 0:
                requests.close()
                _end_after(json.loads(request), answers)
            running.add(pid)
            answers.close()
    finally:
        for pid in running:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _end_after(request: dict[str, Any], answers: socket.socket) -> NoReturn:
    """Runs pytest in this fork, and leaves without the clean-up of what the fork shares with its parent."""
    ended_well = False
    try:
        _run(request, answers)
        ended_well = True
    finally:
        if not ended_well:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0 if ended_well else 1)


def _run(request: dict[str, Any], answers: socket.socket) -> None:
    os.setsid()
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    answers.sendall(f"{os.getpid()}\n".encode())
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    sys.path[:0] = request["environment"]["PYTHONPATH"].split(os.pathsep)
    importlib.invalidate_caches()
    exit_code = int(pytest.main(request["arguments"]))
    files = sorted(_project_files(request["packages"]))
    sys.stdout.flush()
    answers.sendall(json.dumps({"exit_code": exit_code, "files": files}).encode() + b"\n")


def _project_files(packages: list[str]) -> set[str]:
    """Where the project's modules came from, and where packages that no test asked for would come from."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in PROJECT_MODULES]
    files = {getattr(module, "__file__", None) for module in modules}
    specs = [importlib.util.find_spec(package) for package in packages]
    return {file for file in (*files, *(spec.origin if spec else "missing" for spec in specs)) if file}


def main() -> None:
    """Serves until the socket ends."""
    assert all(SLOW_IMPORTS)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # pages of objects that no fork lets go stay shared
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        serve(requests)


if __name__ == "__main__":
    main()
