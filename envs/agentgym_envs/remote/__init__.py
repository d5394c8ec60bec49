"""Tools and environments that live on servers of others: MCP, OpenAPI, OpenEnv."""
