"""Every figure of the documentation but the simulated ones, and the peers in the same run.

python benchmarks/run.py              # every case, tables and plot in benchmarks/output
python benchmarks/run.py numpy        # one case, or several
python benchmarks/run.py --list
python benchmarks/run.py --quick      # do they run? Sizes, and so all figures, mean nothing
"""

from __future__ import annotations

import argparse
import inspect
import logging
import warnings
from dataclasses import asdict

import choosing
import columns
import costs
import engines
import fits
import harness
import means
import penalties
from harness import Case, markdown, run_case, save, timed

CASES = {
    name.removeprefix("case_"): function
    for module in (fits, means, penalties, columns, choosing, engines, costs)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("case_")
}


def run(name, repeats, keep):
    for found in CASES[name]():
        result = run_case(found, repeats) if isinstance(found, Case) else asdict(found)
        if keep:
            save(result)
        print(markdown(result), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="case", help="all without any")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, not saved")
    args = parser.parse_args()
    if args.list:
        for name, function in CASES.items():
            print(f"{name:16} {inspect.getdoc(function).splitlines()[0]}")
        return
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; see --list")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if args.quick:
        harness.SHRINK = 50
    for name in args.cases or CASES:
        print(name, flush=True)
        seconds, _ = timed(run, name, 1 if args.quick else args.repeats, not args.quick)
        print(f"{name} took {seconds:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
