"""Plan, explain and scan an area from a configuration file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minescale import explain, plan, request, run
from minescale.config import load_config
from minescale.errors import MinescaleError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", default="demo")
    parser.add_argument("--bbox", nargs=4, type=float, metavar=("W", "S", "E", "N"))
    parser.add_argument("--datetime")
    parser.add_argument("--period", default="all")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--out", required=True)
    parser.add_argument("--explain", action="store_true", help="stop after the price")
    args = parser.parse_args()
    config = load_config(Path(__file__).with_name("config.yaml"))
    try:
        planned = plan(
            request(catalog=args.catalog, bbox=args.bbox, datetime=args.datetime, period=args.period, model=args.model),
            config,
        )
        sys.stdout.write(explain(planned).text() + "\n")
        if args.explain:
            return 0
        result = run(planned, args.out)
        sys.stdout.write(result.summary.text() + "\n")
        return 3 if result.report.failed or result.report.remaining else 0
    except MinescaleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
