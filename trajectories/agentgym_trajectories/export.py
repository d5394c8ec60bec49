"""Trajectories as files for others: JSONL, Parquet, and Hugging Face datasets with `messages` + `tools`.

Tool schemas and call arguments are JSON strings in all three: Arrow would merge the keys of all tools into each of them.
TRL and the chat templates read them so.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from agentgym import UserError
from agentgym.messages import to_openai
from agentgym.tools import to_json
from agentgym_trajectories.tree import Trajectory

CHUNK = 1000  # rows in memory at once
_LINE_ENDS = {c: f"\\u{c:04x}" for c in (0x85, 0x2028, 0x2029)}  # legal in JSON, but str.splitlines() cuts lines there


def row(trajectory: Trajectory) -> dict[str, Any]:
    """One trajectory as a flat row; `token_ids`, `action_mask` and `logprobs` are null where it has no tokens."""
    episode, ids = trajectory.episode, trajectory.token_ids
    return {
        "messages": [_message(to_openai(m, json_arguments=True)) for m in trajectory.messages],
        "tools": to_json(episode.tools),
        "env": episode.env,
        "task": episode.task.id,
        "split": episode.task.split,
        "sample": episode.sample,
        "version": episode.version,
        "reward": trajectory.reward if trajectory.judged else None,
        "success": trajectory.success if trajectory.judged else None,
        "stop": str(trajectory.leaf.end or ""),
        "errors": [str(e) for e in trajectory.errors],
        "token_ids": ids,
        "action_mask": None if ids is None else trajectory.action_mask,
        "logprobs": None if ids is None else _logprobs(trajectory),
    }


def export(trajectories: Iterable[Trajectory], path: Path, form: str) -> int:
    """Write trajectories as "jsonl", "parquet" or "hf" (a dataset directory) and return how many.

    The file appears under its name only when it is complete.

    Raises:
        UserError: an unknown form, nothing to write, something at `path` already, or a missing extra.
    """
    if form not in FORMS:
        raise UserError(f"there is no format {form!r}: use one of {', '.join(FORMS)}")
    if path.exists():
        raise UserError(f"{path} exists already: choose another path or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    try:
        count = FORMS[form](map(row, trajectories), partial)
        if not count:
            raise UserError("there is nothing to export: the selection is empty")
        partial.rename(path)
    except ImportError as error:
        raise UserError(f"{form} needs {error.name}: pip install 'agentgym[export]'") from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
    return count


def _jsonl(rows: Iterator[dict[str, Any]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for one in rows:
            file.write(json.dumps(one, ensure_ascii=False).translate(_LINE_ENDS) + "\n")
            count += 1
    return count


def _parquet(rows: Iterator[dict[str, Any]], path: Path) -> int:
    import pyarrow as pa  # an extra
    import pyarrow.parquet as pq

    text, count = pa.string(), 0
    function = pa.struct({"name": text, "arguments": text})
    call = pa.struct({"id": text, "type": text, "function": function})
    message = dict.fromkeys(("role", "content", "reasoning_content", "tool_call_id", "name"), text)
    schema = pa.schema(
        {"messages": pa.list_(pa.struct(message | {"tool_calls": pa.list_(call)})), "tools": text, "env": text, "task": text}
        | {"split": text, "sample": pa.int32(), "version": text, "reward": pa.float64(), "success": pa.bool_(), "stop": text}
        | {"errors": pa.list_(text), "token_ids": pa.list_(pa.int32()), "action_mask": pa.list_(pa.bool_())}
        | {"logprobs": pa.list_(pa.float32())}
    )
    with pq.ParquetWriter(path, schema) as writer:
        while chunk := [one for _, one in zip(range(CHUNK), rows, strict=False)]:
            writer.write_table(pa.Table.from_pylist(chunk, schema))
            count += len(chunk)
    return count


def _hugging_face(rows: Iterator[dict[str, Any]], path: Path) -> int:
    from datasets import Dataset, disable_progress_bars, enable_progress_bars  # an extra

    path.mkdir()
    parquet = path / "rows.parquet"
    count = _parquet(rows, parquet)
    if count:
        disable_progress_bars()
        Dataset.from_parquet(str(parquet), cache_dir=str(path / "cache")).save_to_disk(path)
        enable_progress_bars()
        shutil.rmtree(path / "cache")
    parquet.unlink()
    return count


FORMS: dict[str, Callable[[Iterator[dict[str, Any]], Path], int]] = {
    "jsonl": _jsonl,
    "parquet": _parquet,
    "hf": _hugging_face,
}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    return {k: message.get(k) for k in ("role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name")}


def _logprobs(trajectory: Trajectory) -> list[float | None]:
    out: list[float | None] = []
    for node in trajectory.nodes:
        out += node.logprobs if node.logprobs is not None else [None] * len(node.token_ids or ())
    return out
