"""Tool calls as xgrammar's structural tags: free text, in which a trigger opens one of several forms.

xgrammar compares text, not tokens: a tag that is one token of its own (as in Qwen's vocabularies) opens a call just as one
that is spelt in pieces does, and control tokens count as the text that they spell. So strings in a call must not contain any
of the dialect's tags, nor what ends the turn: xgrammar knows of the tokenizer's end of text alone.
"""

import json
from collections.abc import Sequence

from agentgym.dialects import CallGrammar

MAX_WHITESPACE = 1  # in a row, between the parts of the JSON: an untrained model would write spaces for ever


def structural_tag(calls: Sequence[CallGrammar], turn_end: str) -> str:
    """Free text with these calls in it, as the JSON that xgrammar reads; no call contains `turn_end`."""
    tags = [
        {
            "type": "tag",
            "begin": c.begin,
            "content": {
                "type": "json_schema",
                "json_schema": c.schema,
                "max_whitespace_cnt": MAX_WHITESPACE,
                "excludes": [*c.excludes, turn_end],
            },
            "end": c.end,
        }
        for c in calls
    ]
    triggers = sorted({c.trigger for c in calls})
    return json.dumps({"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": triggers, "tags": tags}})
