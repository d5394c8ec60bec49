"""Long text games from packages: TextWorld and ScienceWorld."""
