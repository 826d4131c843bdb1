"""`insight`: check, ingest, run, status, open, act; see `cli_models` for the rest.

Everything heavy is imported inside the commands, so that help and status answer at once.
"""

from __future__ import annotations

import io
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insight_lib.cli_models import add_commands

if TYPE_CHECKING:
    from insight_lib.lake.ingest import TableIngest
    from insight_lib.parameters import Project
    from insight_lib.runner.drive import RunSummary

app = typer.Typer(
    name="insight",
    help="Consumer insight per market: from raw data to reports that say how sure they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
add_commands(app)

Markets = Annotated[list[str] | None, typer.Option("--market", help="Market id; repeatable.")]
Root = Annotated[
    Path | None, typer.Option("--root", help="Project folder; found from here if not given.")
]

_EXIT_FAULTS = 2


Today = Annotated[
    str | None,
    typer.Option(
        "--today", help="Day on which permissions are judged, YYYY-MM-DD; the clock's if not given."
    ),
]


@app.callback()
def _start() -> None:
    """Print what the terminal can show: a character that it lacks stops nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _project(root: Path | None, today: str | None = None) -> Project:
    from insight_lib.parameters import ParameterFaults, find_root, load_project

    try:
        return load_project((root or find_root()).resolve(), today=_day(today, "--today"))
    except (ParameterFaults, FileNotFoundError) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS) from None


def _chosen(project: Project, markets: list[str] | None) -> list[str]:
    from insight_lib.parameters import ParameterFaults

    for market in markets or []:
        try:
            project.market(market)
        except ParameterFaults as error:
            typer.secho(str(error), err=True, fg="red")
            raise typer.Exit(_EXIT_FAULTS) from None
    return list(dict.fromkeys(markets or project.markets))


@app.command()
def check(root: Root = None) -> None:
    """Read every parameter file and register, and report all faults at once."""
    project = _project(root)
    faults = [fault for found in project.faults.values() for fault in found]
    for fault in sorted(faults):
        typer.echo(str(fault))
    if faults:
        good = len(project.markets)
        typer.secho(f"{len(faults)} faults; {good} markets without one", err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS)
    typer.echo(f"{len(project.markets)} markets, {len(project.stages)} stages: no fault")


@app.command()
def upgrade(root: Root = None) -> None:
    """Bring the files of a project that an earlier version wrote up to what this one reads."""
    from insight_lib.parameters import find_root
    from insight_lib.upgrade import upgrade as changed_lines

    lines = list(changed_lines(root or find_root()))
    for line in lines:
        typer.echo(line)
    typer.echo(f"{len(lines)} lines changed; `insight check` says what is left")


@app.command()
def ingest(
    market: Markets = None,
    force: Annotated[bool, typer.Option(help="Read sources again even if unchanged.")] = False,
    rebuild: Annotated[
        bool,
        typer.Option(help="Take the files as they are: rows that they no longer hold end."),
    ] = False,
    today: Today = None,
    root: Root = None,
) -> None:
    """Bring the lake up to date with the declared sources."""
    project = _project(root, today)
    chosen = _chosen(project, market)
    if _ingest(project, chosen, force=force, rebuild=rebuild, quiet=False):
        raise typer.Exit(1)


def _ingest(
    project: Project, markets: list[str], *, force: bool, quiet: bool, rebuild: bool = False
) -> list[str]:
    """Ingest markets one by one and return what failed; a fault in one never stops another."""
    from insight_lib.lake.ingest import ingest_market
    from insight_lib.lake.store import LakeError

    failed = []
    for market_id in markets:
        read: list[TableIngest] = []

        def report(result: TableIngest, market: str = market_id, read: Any = read) -> None:
            if result.fault:
                failed.append(market)
                typer.secho(f"{market}.{result.table}: {result.fault}", err=True, fg="red")
                if result.entry:
                    typer.secho("  the last good snapshot stays in use", err=True)
            elif result.entry:
                read += [result] if result.was_read else []
                if not quiet:
                    state = "" if result.was_read else " (unchanged, not read)"
                    typer.echo(f"{market}.{result.table}: {_accounts([result])}{state}")
                    for reason, n in list(result.entry.reasons.items())[:5]:
                        typer.echo(f"    {n:,} x {reason}")
                    for reason, n in list(result.entry.doubted.items())[:5]:
                        typer.echo(f"    {n:,} x set aside, row kept: {reason}")
                for notice in result.entry.notices if result.was_read or not quiet else ():
                    typer.secho(f"{market}.{result.table}: {notice}", err=True, fg="yellow")

        try:
            _simulate(project, market_id)
            ingest_market(
                project.lake_dir,
                project.markets[market_id],
                project.root,
                force=force,
                rebuild=rebuild,
                today=project.today,
                report=report,
            )
            for question in _questions(project, market_id):
                typer.secho(question, err=True, fg="yellow")
        except Exception as error:  # whatever it is, the other markets go on
            failed.append(market_id)
            name = "" if isinstance(error, LakeError) else f"{type(error).__name__}: "
            typer.secho(f"{market_id}: {name}{error}", err=True, fg="red")
        if quiet and read:
            typer.echo(f"{market_id}: {len(read)} tables, {_accounts(read)}")
    return failed


def _questions(project: Project, market_id: str) -> list[str]:
    """What a person has to say about a market's data, links that find little included."""
    from insight_lib.lake.links import broken_links
    from insight_lib.lake.store import read_manifest

    manifest = read_manifest(project.lake_dir, project.markets[market_id].region, market_id)
    if manifest is None:
        return []
    return [*manifest.questions, *(f"{market_id}: {words}" for words in broken_links(manifest))]


def _accounts(results: list[TableIngest]) -> str:
    """`3 rows in = 2 loaded + 1 in quarantine`, over several tables."""
    entries = [result.entry for result in results if result.entry]
    total = {
        name: sum(getattr(entry, name) for entry in entries)
        for name in ("rows_in", "loaded", "quarantined", "out_of_scope", "superseded", "kept")
    }
    newer = f" + {total['superseded']:,} given anew" if total["superseded"] else ""
    kept = f"; {total['kept']:,} of earlier deliveries stay" if total["kept"] else ""
    scope = f" + {total['out_of_scope']:,} out of scope" if total["out_of_scope"] else ""
    return (
        f"{total['rows_in']:,} rows in = {total['loaded']:,} loaded + "
        f"{total['quarantined']:,} in quarantine{scope}{newer}{kept}"
    )


def _simulate(project: Project, market_id: str) -> None:
    """Make a simulated market's files, unless they stand there already."""
    simulation = project.markets[market_id].simulation
    if simulation:
        from insight_lib.simulation import refresh_simulation

        refresh_simulation(
            project.lake_dir / "_simulated" / market_id,
            market_id,
            seed=simulation.seed,
            n_customers=simulation.customers,
        )


@app.command()
def run(
    market: Markets = None,
    stage: Annotated[list[str] | None, typer.Option(help="Stage id; repeatable.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="Published segment.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Last complete day, YYYY-MM-DD.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Parameter for this run: section.name=value; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Run again what is up to date.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Runs at the same time.")] = 2,
    cold_kernels: Annotated[
        bool, typer.Option(help="Start an ordinary kernel for each run instead of forking.")
    ] = False,
    skip_ingest: Annotated[bool, typer.Option(help="Use the lake as it is.")] = False,
    today: Today = None,
    root: Root = None,
) -> None:
    """Run what is not up to date, and publish the reports.

    Exit code: 0 all published; 1 a run or an ingest failed; 2 faults in parameters;
    3 a gate stopped something; 4 a limit stopped a run; 130 cancelled.
    """
    import sqlite3

    from insight_lib.parameters import ParameterFaults
    from insight_lib.runner.drive import run as drive
    from insight_lib.runner.plan import Selection
    from insight_lib.runner.progress import RichProgress

    project = _project(root, today)
    for fault in sorted(f for found in project.faults.values() for f in found):
        typer.secho(f"{fault}", err=True, fg="yellow")
    markets = _chosen(project, market)
    overrides = _overrides(set_ or [])
    try:
        for market_id in markets:
            project.resolve(market_id, overrides)
        day = _day(as_of)
        selection = Selection(
            markets=tuple(markets),
            stages=tuple(stage or ()),
            segments=tuple(segment or ()),
            overrides=overrides,
        )
    except (ParameterFaults, ValueError) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS) from None
    _check_segments(project, markets, segment or [])
    failed = [] if skip_ingest else _ingest(project, markets, force=False, quiet=True)
    try:
        summary = drive(
            project,
            selection,
            jobs=jobs,
            force=force,
            as_of=day,
            cold_kernels=cold_kernels,
            progress=RichProgress(),
        )
    except (LookupError, ValueError) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS) from None
    except (OSError, sqlite3.Error) as error:
        typer.secho(f"cannot write below {project.reports_dir}: {error}", err=True, fg="red")
        raise typer.Exit(1) from None
    _print_summary(summary)
    raise typer.Exit(summary.exit_code or (1 if failed or project.faults else 0))


def _check_segments(project: Project, markets: list[str], segments: list[str]) -> None:
    """Refuse a segment that no market has published, before anything runs."""
    from insight_lib.lake.segments import published_segments
    from insight_lib.lake.store import market_root

    for market in markets if segments else ():
        root = market_root(project.lake_dir, project.markets[market].region, market)
        known = published_segments(root)
        if unknown := [s for s in segments if s not in known]:
            there = ", ".join(known) or "none yet; run the stage `segments` first"
            typer.secho(f"--segment {unknown[0]!r}: {market} has {there}", err=True, fg="red")
            raise typer.Exit(_EXIT_FAULTS)


def _day(text: str | None, option: str = "--as-of") -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        typer.secho(f"{option} {text!r}: {error}; write YYYY-MM-DD", err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS) from None


def _overrides(pairs: list[str]) -> dict[str, Any]:
    """`["features.rfm_groups=4"]` as `{"features.rfm_groups": 4}`; values as in the YAML."""
    overrides: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            typer.secho(f"--set {pair!r}: write section.name=value", err=True, fg="red")
            raise typer.Exit(_EXIT_FAULTS)
        try:
            overrides[name] = json.loads(text)
        except ValueError:
            overrides[name] = text
    return overrides


def _print_summary(summary: RunSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("Market", "Stage", "State", "Seconds", "Findings", "What to look at", box=None)
    for row in summary.rows:
        where = f"cell {row.cell_number}: " if row.cell_number else ""
        note = f"{where}{row.error}" if row.error else ", ".join(row.gates)
        if row.link and (row.error or row.gates):
            note += f" ({row.link})"
        stage = f"{row.cell.stage}@{row.cell.segment}" if row.cell.segment else row.cell.stage
        state = row.state.value if row.was_run or row.error else f"{row.state.value}, up to date"
        table.add_row(
            row.cell.market,
            stage,
            state,
            f"{row.seconds:.1f}" if row.was_run else "",
            str(row.n_findings or ""),
            note,
        )
    console = Console()
    console.print(table)
    if summary.index:
        console.print(f"{summary.seconds:.1f} s; open {summary.index}")


@app.command()
def status(root: Root = None) -> None:
    """Show where every report stands."""
    from insight_lib.runner.status import load_status

    project = _project(root)
    for row in load_status(project):
        stage = f"{row.cell.stage}@{row.cell.segment}" if row.cell.segment else row.cell.stage
        note = f"  {row.error}" if row.error else ""
        typer.echo(f"{row.cell.market:<20} {stage:<24} {row.state:<10} {row.cell.as_of}{note}")
    for market_id, faults in project.faults.items():
        typer.echo(f"{market_id:<20} {'':<24} {'faults':<10} {len(faults)}; run `insight check`")


@app.command(name="open")
def open_report(
    market: Annotated[str | None, typer.Argument(help="Market id; the index if left out.")] = None,
    stage: Annotated[str | None, typer.Argument(help="Stage id.")] = None,
    segment: Annotated[str, typer.Option(help="Segment.")] = "",
    as_of: Annotated[
        str | None, typer.Option(help="Day, YYYY-MM-DD; the newest if not given.")
    ] = None,
    role: Annotated[
        str, typer.Option(envvar="INSIGHT_ROLE", help="Your role, for the log of use.")
    ] = "",
    unit: Annotated[
        str, typer.Option(envvar="INSIGHT_UNIT", help="Your business unit, for the log of use.")
    ] = "",
    path_only: Annotated[bool, typer.Option(help="Print the path, open nothing.")] = False,
    root: Root = None,
) -> None:
    """Open a report in the browser; with a role, the log of use says that it was opened."""
    import webbrowser

    from insight_lib.runner.status import NoReport, report_path

    project, day = _project(root), _day(as_of)
    try:
        path = report_path(project, market or "", stage=stage, segment=segment, as_of=day)
    except NoReport as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(1) from None
    typer.echo(str(path))
    if not path_only:
        webbrowser.open(path.as_uri())
        if role and market and stage:
            _log_use(project, market, stage, path.parent.parent.name, role, unit, "opened")


@app.command()
def explain(
    finding: Annotated[str, typer.Argument(help="Id of a finding, stage.name.")],
    market: Annotated[str, typer.Option(help="Market id.")],
    segment: Annotated[str, typer.Option(help="Segment.")] = "",
    as_of: Annotated[
        str | None, typer.Option(help="Day, YYYY-MM-DD; the newest if not given.")
    ] = None,
    root: Root = None,
) -> None:
    """Where a finding comes from: analysis, parameters, tables, and files by hash."""
    from insight_lib.report.lineage import NoFinding
    from insight_lib.report.lineage import explain as lines_of
    from insight_lib.runner.status import NoReport, report_path

    project, day = _project(root), _day(as_of)
    stage = finding.partition(".")[0]
    try:
        page = report_path(project, market, stage=stage, segment=segment, as_of=day)
        for line in lines_of(page.parent, finding):
            typer.echo(line)
    except (NoReport, NoFinding) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(1) from None


@app.command()
def act(
    market: Annotated[str, typer.Option(help="Market id.")],
    stage: Annotated[str, typer.Option(help="Stage id.")],
    finding: Annotated[str, typer.Option(help="Id of the finding, as its page shows it.")],
    action: Annotated[str, typer.Option(help="acted or overridden.")],
    role: Annotated[str, typer.Option(envvar="INSIGHT_ROLE", help="Your role.")],
    unit: Annotated[str, typer.Option(envvar="INSIGHT_UNIT", help="Your business unit.")] = "",
    root: Root = None,
) -> None:
    """Log that a finding was acted on, or overridden, by a role; never by a name."""
    from insight_lib.runner.status import NoReport, report_path

    project = _project(root)
    if action not in ("acted", "overridden"):
        typer.secho(f"--action {action!r}: write acted or overridden", err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS)
    try:
        path = report_path(project, market, stage=stage)
    except NoReport as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(1) from None
    known = [f["id"] for f in json.loads(path.with_name("findings.json").read_text())["findings"]]
    if finding not in known:
        typer.secho(f"--finding {finding!r}: the page has {', '.join(known)}", err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS)
    _log_use(project, market, stage, path.parent.parent.name, role, unit, action, finding)


def _log_use(
    project: Project,
    market: str,
    stage: str,
    day: str,
    role: str,
    unit: str,
    action: str,
    finding: str | None = None,
) -> None:
    """Add a line to the market's log of use; days are those of the report."""
    from insight_lib.lake.decisions import append_decisions
    from insight_lib.lake.store import market_root

    if role not in project.registers.owners:
        known = ", ".join(project.registers.owners)
        typer.secho(f"--role {role!r}: registers/owners.yaml has {known}", err=True, fg="red")
        raise typer.Exit(_EXIT_FAULTS)
    row = {"day": day, "role": role, "business_unit": unit or None, "stage": stage}
    root = market_root(project.lake_dir, project.markets[market].region, market)
    append_decisions(root, "adoption", [row | {"action": action, "finding_id": finding}])


if __name__ == "__main__":
    app()
