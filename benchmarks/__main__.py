"""Run the benchmarks: `python -m benchmarks [name ...]`."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import (
    encoders,
    evaluation,
    generation,
    habitat,
    imitation,
    loading,
    policies,
    rendering,
    store,
    streaming,
    worlds,
)

SUITES = {
    "generation": generation.run,
    "rendering": rendering.run,
    "evaluation": evaluation.run,
    "encoders": encoders.run,
    "streaming": streaming.run,
    "habitat": habitat.run,
    "worlds": worlds.run,
    "loading": loading.run,
    "policies": policies.run,
    "imitation": imitation.run,
    "store": store.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "suites", nargs="*", metavar="name", help=f"what to measure: {', '.join(SUITES)} (default: all)"
    )
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="least time that a figure is measured over (default: 3)"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.suites) - set(SUITES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    console = Console()
    console.print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="navloop-bench-") as folder:
        for name in arguments.suites or SUITES:
            SUITES[name](console, Path(folder), arguments.seconds)


if __name__ == "__main__":
    main()
