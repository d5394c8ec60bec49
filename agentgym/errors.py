"""Who is to blame: every error says which boundary was crossed, so that nobody is punished for another's fault.

::

    AgentGymError
    ├── UserError             what the caller asked for cannot be done; the text says what and how to mend it (exit code 2)
    │   └── NotInstalled          it needs a package, or a program, that is not there
    ├── ToolError             the agent used a tool wrongly; the text goes back to the agent as the tool's answer
    └── Failure               nobody's action: the attempt is void, has no reward and may be tried again
        ├── EnvironmentFailure    a dead container, a crashed page, a bug of an environment, a state that did not come back
        ├── SamplerFailure        inference died, or gave something that is no answer
        │   └── RefusedFailure    it works, and refuses this one conversation: too long, or not allowed
        ├── DeadlineFailure       the whole episode took longer than it was given
        └── WorkerFailure         the machine or process that played the episode is gone

What the agent does wrong is no exception at all: it is data, an `ErrorCategory` beside a message that the agent can read.
"""

from enum import StrEnum


class AgentGymError(Exception):
    """Root of all errors raised on purpose by this project."""


class UserError(AgentGymError):
    """The caller's input is wrong. One sentence naming the thing, one naming the remedy."""


class NotInstalled(UserError):
    """What was asked for needs something that is not installed here, and works where it is."""


class ToolError(AgentGymError):
    """Raised inside a tool to refuse a call. Its text is shown to the agent, the call is counted as a `TOOL_ERROR`."""


class Failure(AgentGymError):
    """The attempt failed through no action of the agent: no reward, retried up to a cap, never seen by a trainer."""


class EnvironmentFailure(Failure):
    """The environment broke."""


class SamplerFailure(Failure):
    """The sampler broke."""


class RefusedFailure(SamplerFailure):
    """The sampler will not go on with this conversation; with others it may."""


class DeadlineFailure(Failure):
    """The episode took longer than it was given. Not tried again: it would most likely take as long."""


class WorkerFailure(Failure):
    """The process or machine that played the episode is gone."""


class ErrorCategory(StrEnum):
    """What an agent can do wrong in one turn. Each is answered with a message that says how to do better."""

    BAD_FORMAT = "bad_format"  # the text is neither an action nor an answer in this dialect
    MALFORMED_JSON = "malformed_json"  # a tool call that is not a JSON object with a name and arguments
    UNKNOWN_TOOL = "unknown_tool"
    MISSING_ARGUMENT = "missing_argument"
    EXTRA_ARGUMENT = "extra_argument"
    ILL_TYPED_ARGUMENT = "ill_typed_argument"
    TOOL_ERROR = "tool_error"  # well-formed, but the tool refused or raised
    TOO_MANY_CALLS = "too_many_calls"  # more calls in one turn than the environment answers


class StopReason(StrEnum):
    """Why an episode ended. Only `TERMINATED` is the environment's own end; the others cut the episode off."""

    TERMINATED = "terminated"
    MAX_TURNS = "max_turns"
    CONTEXT_LENGTH = "context_length"
