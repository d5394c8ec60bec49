"""What vLLM loads into its processes (entry point group ``vllm.general_plugins``); the environment says what it is to do there.

``AGENTGYM_VLLM_UPDATES=1``: weights can be exchanged on a CPU. There, vLLM packs the weights of linear layers into a format of
their own and frees the originals. A later reload then changes embeddings and norms alone, and reports success. With this in the
environment of the engine (our in-process engine sets it, a server has to be started with it) linear layers stay plain: decoding
is about 30 % slower, and a reload changes all weights. On a GPU nothing is packed, and this does nothing.

``AGENTGYM_VLLM_PARENT``: a process id, set by our in-process engine; the processes that this one starts end with it. vLLM's own
would go on when it is killed, and keep their memory and a core.
"""

import ctypes
import os
import signal
from typing import Any

SWITCH = "AGENTGYM_VLLM_UPDATES"
PARENT = "AGENTGYM_VLLM_PARENT"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def register() -> None:
    """Do in this process what the environment asks for."""
    if os.environ.get(PARENT) == str(os.getppid()):
        _end_with_parent()
    if os.environ.get(SWITCH) == "1":
        _keep_linear_layers_plain()


def _end_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended just before
        os._exit(1)
    os.environ[PARENT] = str(os.getpid())  # for the workers that this process is going to start


def _keep_linear_layers_plain() -> None:
    import torch  # vLLM loads plugins early; without the switch this one costs nothing
    from vllm.model_executor.layers import utils

    pack = utils.dispatch_cpu_unquantized_gemm

    def keep_plain(layer: Any, remove_weight: bool) -> None:
        if layer.weight.ndim == 2:
            layer.cpu_linear = torch.nn.functional.linear
        else:  # no linear layer
            pack(layer, remove_weight)

    utils.dispatch_cpu_unquantized_gemm = keep_plain
