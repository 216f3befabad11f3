"""Where a result comes from: code, versions, machine, command, time."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import navloop


def provenance() -> dict[str, Any]:
    """Return what a result depends on besides its config, ready for JSON.

    Keys: "started" (UTC, ISO 8601), "command", "folder" (where it was given), "code" (navloop's version, and commit and "dirty" where it runs
    from a git checkout), "packages" (version by name), "python", "platform", "processor", "processors" (how many may be used).
    """
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "folder": os.getcwd(),
        "code": {"navloop": navloop.__version__, **_checkout()},
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "processors": usable_processors(),
    }


def package_versions() -> dict[str, str]:
    """Return the installed version of each package that navloop requires, by name."""
    names = {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0] for line in metadata.requires("navloop") or ()}
    versions = {}
    for name in sorted(names - {"navloop"}):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a package of an extra that is not installed
            continue
    return versions


def usable_processors() -> int:
    """Return how many processors this process may use, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _checkout() -> dict[str, Any]:
    """Return commit and dirty flag if navloop's own files are tracked by git; an environment inside a stranger's checkout says nothing."""
    folder = Path(navloop.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {}
    commit, status = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {} if commit is None or status is None else {"commit": commit, "dirty": bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()
