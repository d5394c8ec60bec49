"""Other people's tools as ours, and ours as theirs: MCP servers and OpenAPI documents; each module needs its extra."""
