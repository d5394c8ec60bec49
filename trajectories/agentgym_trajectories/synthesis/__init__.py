"""Methods of synthesis by name: one small file each. A new one is a file with a frozen dataclass, and a line here."""

from agentgym_trajectories.synthesis.base import Dropped, Method, Synthesis, Writer
from agentgym_trajectories.synthesis.edge import Edge
from agentgym_trajectories.synthesis.fireact import FireAct
from agentgym_trajectories.synthesis.genqa import GenQA
from agentgym_trajectories.synthesis.halves import Halves
from agentgym_trajectories.synthesis.ilf import Ilf
from agentgym_trajectories.synthesis.llm2llm import Llm2llm
from agentgym_trajectories.synthesis.magpie import Magpie
from agentgym_trajectories.synthesis.reflection import Reflection
from agentgym_trajectories.synthesis.relabel import Relabel
from agentgym_trajectories.synthesis.scene import Scene, Unusable, whisper
from agentgym_trajectories.synthesis.self_align import SelfAlign
from agentgym_trajectories.synthesis.self_guide import SelfGuide
from agentgym_trajectories.synthesis.self_training import SelfTraining
from agentgym_trajectories.synthesis.several import Several

METHODS: dict[str, type[Method]] = {
    # new tasks
    "magpie": Magpie,
    "genqa": GenQA,
    "self-guide": SelfGuide,
    "halves": Halves,
    "llm2llm": Llm2llm,
    "reflection": Reflection,
    # other trajectories of given tasks
    "several": Several,
    "fireact": FireAct,
    "self-training": SelfTraining,
    "self-align": SelfAlign,
    "ilf": Ilf,
    "relabel": Relabel,
    "edge": Edge,
}

__all__ = ["METHODS", "Dropped", "Method", "Scene", "Synthesis", "Unusable", "Writer", "whisper"]
