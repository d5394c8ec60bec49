"""What vLLM loads into its processes (entry point group ``vllm.general_plugins``), so that a CPU's weights can be exchanged.

On a CPU, vLLM packs the weights of linear layers into a format of their own and frees the originals. A later reload then
changes embeddings and norms alone, and reports success. With ``AGENTGYM_VLLM_UPDATES=1`` in the environment of the engine (our
in-process engine sets it, a server has to be started with it) linear layers stay plain: decoding is about 30 % slower, and a
reload changes all weights. On a GPU nothing is packed, and this does nothing.
"""

import os
from typing import Any

SWITCH = "AGENTGYM_VLLM_UPDATES"


def register() -> None:
    """Keep linear layers plain in this process, if the environment asks for it."""
    if os.environ.get(SWITCH) != "1":
        return
    import torch  # vLLM loads plugins early; without the switch this one costs nothing
    from vllm.model_executor.layers import utils

    pack = utils.dispatch_cpu_unquantized_gemm

    def keep_plain(layer: Any, remove_weight: bool) -> None:
        if layer.weight.ndim == 2:
            layer.cpu_linear = torch.nn.functional.linear
        else:  # no linear layer
            pack(layer, remove_weight)

    utils.dispatch_cpu_unquantized_gemm = keep_plain
