"""Which browser there is."""

import os
import shutil
from pathlib import Path

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The system's Chromium, or one that Playwright has installed; None without either."""
    if program := of_the_system():
        return program
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    return next((str(path) for path in sorted(cache.glob("chromium*/*/*")) if path.name in ("chrome", "headless_shell")), None)


def of_the_system() -> str | None:
    """The first of `PROGRAMS` that is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
