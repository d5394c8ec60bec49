"""A vLLM server for tests, that can be killed and started again on the same port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from agentgym.sampling.vllm_local import LINEAR


class VllmServer:
    """``python -m vllm.entrypoints.openai.api_server`` on a free port; ends with the `with` block.

    Args:
        model: A model directory.
        log: Where its output goes.
        rank: The largest rank of adapters.
    """

    def __init__(self, model: Path, log: Path, rank: int = 8) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        options = {
            "model": model,
            "host": "127.0.0.1",
            "port": self.port,
            "dtype": "float32",
            "max-num-seqs": 16,
            "max-num-batched-tokens": 4096,
            "block-size": 32,
            "max-loras": 2,
            "max-lora-rank": rank,
        }
        flags = ("enforce-eager", "no-enable-chunked-prefill", "enable-lora", "enable-prompt-tokens-details")
        self._command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *(f"--{flag}" for flag in flags)]
        self._command += [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self._command += ["--lora-target-modules", *LINEAR]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 240.0) -> None:
        """Start it and wait until it answers."""
        settings = {
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + timeout
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"the vLLM server did not start: {self.log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """Kill it and all processes that it started, without a chance to tidy up."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def vllm_server(model: Path, log: Path) -> Iterator[VllmServer]:
    """A running server."""
    server = VllmServer(model, log)
    server.start()
    try:
        yield server
    finally:
        server.kill()
