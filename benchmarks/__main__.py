"""`make bench`: ratios from one run on this machine, printed as a Markdown page."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from benchmarks import features, large, lines, loop, pages, runs, start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--lines", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--markets", type=int, default=6)
    options = parser.parse_args()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        print(start.report(), flush=True)
        print(runs.report(folder / "runs", n_markets=options.markets), flush=True)
        print(pages.report(folder / "runs"), flush=True)
        print(loop.report(folder / "runs", "ke-fashion"), flush=True)
        many = lines.write_lines(folder / "many", n_lines=30_000_000, n_customers=1_200_000)
        print(large.report(many, folder), flush=True)
        print("| Order lines | Way | Seconds | Against hand-written | Peak GiB |")
        print("|---|---|---|---|---|")
        for n_lines in options.lines:
            files = lines.write_lines(folder / "lines", n_lines=n_lines, n_customers=n_lines // 20)
            hand = None
            for way in features.WAYS:
                if way.startswith("pandas") and n_lines > 10_000_000:
                    continue  # does not fit
                result = features.measure(way, files, folder / "lines")
                hand = hand or result["seconds"]
                print(
                    f"| {n_lines:,} | {way} | {result['seconds']:.1f} "
                    f"| {result['seconds'] / hand:.2f} | {result['peak_gib']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
