"""All benchmarks with moderate sizes, one process each: `python -m benchmarks [--full] [NAME…]`."""

import argparse
import subprocess
import sys

MODERATE: dict[str, list[str]] = {
    "startup": ["--rounds", "2"],
    "memory": [],
    "ingest": ["--documents", "100"],
    "pipeline": ["--documents", "500"],
    "search": ["--sizes", "10000", "--requests", "200"],
    "tenants": ["--small", "5", "--large", "5000", "--requests", "200"],
    "embedding": [],
    "parsing": [],
}
FULL: dict[str, list[str]] = {
    "startup": ["--rounds", "5"],
    "memory": ["--documents", "200", "--questions", "200"],
    "ingest": ["--documents", "300", "--rounds", "3"],
    "pipeline": ["--documents", "1000"],
    "search": ["--sizes", "10000,100000", "--requests", "500"],
    "tenants": [],
    "embedding": ["--passages", "400"],
    "parsing": [],
}


def main() -> int:
    """Run the named benchmarks, or all; return 1 when one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MODERATE, []], metavar="NAME", help=", ".join(MODERATE))
    parser.add_argument("--full", action="store_true", help="larger sizes, for a quiet machine: half an hour")
    arguments = parser.parse_args()
    sizes = FULL if arguments.full else MODERATE
    failed = []
    for name in arguments.names or list(sizes):
        print(f"\n== {name} {' '.join(sizes[name])}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sizes[name]], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
