"""An MCP server that goes wrong as it is told, ``python faulty.py FAULT``: by hand, since the SDK would not let it.

The fault ``none`` is a server like the good one that starts in a hundredth of the time.
"""

import json
import os
import sys
import time
from typing import Any

FAULT = sys.argv[1]
TOTAL: list[int] = []


def tool() -> dict[str, Any]:
    amount = {"schema": {"type": "whole"}, "reference": {"$ref": "https://example.invalid/amount.json"}}
    properties = {"amount": amount.get(FAULT, {"type": "integer"})}
    listed: dict[str, Any] = {
        "name": "a b" if FAULT == "name" else "add",
        "description": "Add.",
        "inputSchema": {"type": "object", "properties": properties, "required": ["amount"]},
    }
    if FAULT == "output":
        listed["outputSchema"] = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    return listed


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "t", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [tool()] * (2 if FAULT == "twice" else 1)} | ({"nextCursor": "x"} if FAULT == "endless" else {})
    if FAULT == "dies":
        sys.stderr.write("out of paper\n")
        sys.stderr.flush()
        os._exit(3)
    if FAULT == "hangs":
        time.sleep(60)
    if FAULT == "parts":
        resource = {"uri": "file:///a", "text": "inside"}
        image = {"type": "image", "data": "", "mimeType": "image/png"}
        linked = {"type": "resource_link", "uri": "file:///b", "name": "b"}
        return {"content": [image, {"type": "resource", "resource": resource}, linked]}
    if FAULT == "structured":
        return {"content": [], "structuredContent": {"sum": 1}}
    if params["arguments"]["amount"] < 0:
        return {"content": [{"type": "text", "text": "an amount is not negative"}], "isError": True}
    TOTAL.append(params["arguments"]["amount"])
    said = {"content": [{"type": "text", "text": str(sum(TOTAL))}]}
    return said | ({"structuredContent": {"sum": "one"}} if FAULT == "output" else {})


def main() -> None:
    if FAULT == "gone":
        sys.exit("cannot open the till")
    if FAULT == "junk":
        print("hello\n" * 3, flush=True)
    if FAULT in ("mute", "junk"):
        time.sleep(60)
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] not in ("initialize", "tools/list", "tools/call"):
            said["error"] = {"code": -32601, "message": "no such method"}
        elif asked["method"] == "tools/call" and FAULT == "refuses":
            said["error"] = {"code": -32602, "message": "amount is no argument of mine"}
        else:
            said["result"] = answer(asked["method"], asked.get("params", {}))
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
