"""`insight models | promote | roll-back | bundle | review | contacts | why`: people's part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from insight_lib.market import Market
    from insight_lib.prediction.registry import Registry

MarketId = Annotated[str, typer.Option("--market", help="Market id.")]
TargetId = Annotated[str, typer.Option("--target", help="lapse, value, …, or lapse@segment.")]
Root = Annotated[
    Path | None, typer.Option("--root", help="Project folder; found from here if not given.")
]
By = Annotated[str, typer.Option("--by", help="Role that decides, of registers/owners.yaml.")]
Why = Annotated[str, typer.Option("--why", help="Reason, for the record.")]
Day = Annotated[str | None, typer.Option("--on", help="Day of the data, YYYY-MM-DD.")]


def add_commands(app: typer.Typer) -> None:
    """Give the command line its commands on models and scores."""
    app.command()(models)
    app.command()(promote)
    app.command(name="roll-back")(roll_back)
    app.command()(bundle)
    app.command()(review)
    app.command()(contacts)
    app.command()(why)


@contextmanager
def _told() -> Iterator[None]:
    """Say what was refused, missing or wrong in one line, and end with an error."""
    try:
        yield
    except (OSError, LookupError, ValueError) as error:
        text = error.args[0] if isinstance(error, LookupError) and error.args else error
        typer.secho(str(text), err=True, fg="red")
        raise typer.Exit(1) from None


def _open(market: str, root: Path | None, on: str | None = None) -> tuple[Market, Registry]:
    """The market as the stage decisions sees it, and its models.

    Raises:
        OSError, LookupError, ValueError: No such market, no data, no models, or no key.
    """
    from insight_lib.lake.store import LakeError
    from insight_lib.market import open_market
    from insight_lib.parameters import ParameterFaults, find_root
    from insight_lib.prediction.registry import Registry
    from insight_lib.prediction.signing import read_key

    here = (root or find_root()).resolve()
    try:
        day = date.fromisoformat(on) if on else None
        opened = open_market(market, stage="decisions", as_of=day, root=here)
        key = read_key(here / ".insight" / "signing.key", may_create=False)
    except (ParameterFaults, LakeError) as error:
        raise ValueError(error) from error
    return opened, Registry(opened.kept("models"), key, opened.decisions("models"))


def models(market: MarketId, on: Day = None, root: Root = None) -> None:
    """Show which models were live on a day, and everything decided on them."""
    with _told():
        opened, registry = _open(market, root, on)
        for target in registry.targets():
            live = registry.live(target, on=opened.as_of)
            version = live.version if live else "none"
            typer.echo(f"{target} on {opened.as_of}: {version}")
            for event in registry.history(target):
                if event.day <= opened.as_of:
                    typer.echo(
                        f"    {event.day} {event.action} {event.version} by {event.by}: {event.why}"
                    )
        if not registry.targets():
            typer.echo(f"{market} has no model yet; run `insight run --market {market}`")


def promote(
    market: MarketId,
    target: TargetId,
    version: Annotated[str, typer.Option(help="As `insight models` shows it.")],
    by: By,
    why: Why,
    root: Root = None,
) -> None:
    """Let a registered model score from the market's data date on."""
    from insight_lib.lake.decisions import append_decisions

    with _told():
        opened, registry = _open(market, root)
        row = registry.promotion_row(target, version, day=opened.as_of, by=by, why=why)
        append_decisions(opened.root, "models", [row])
        typer.echo(f"{target}: {version} is live from {opened.as_of}; run the stages again")


def roll_back(market: MarketId, target: TargetId, by: By, why: Why, root: Root = None) -> None:
    """Put the model before the live one back, from the market's data date on."""
    from insight_lib.lake.decisions import append_decisions

    with _told():
        opened, registry = _open(market, root)
        rows = registry.rollback_rows(target, day=opened.as_of, by=by, why=why)
        append_decisions(opened.root, "models", rows)
        _, registry = _open(market, root)
        live = registry.live(target, on=opened.as_of)
        now = f"{live.version} is live" if live else "no own model is live"
        typer.echo(f"{target}: {rows[0]['version']} is out, {now}; run the stages again")


def bundle(
    market: MarketId,
    target: TargetId,
    to: Annotated[Path, typer.Option(help="Zip file to write.")],
    on: Day = None,
    root: Root = None,
) -> None:
    """Write the live model as a zip that scores without this software."""
    from insight_lib.prediction.bundle import write_bundle

    with _told():
        opened, registry = _open(market, root, on)
        live = registry.live(target, on=opened.as_of)
        if live is None:
            raise LookupError(f"{market}: no live model for {target!r} on {opened.as_of}")
        high = opened.parameters.prediction.high_stakes_targets
        document, card = registry.load(live.version)
        digest = write_bundle(document, card, to, high_stakes_targets=high)
        typer.echo(f"{to}: {live.version}, sha256 {digest}")


def review(
    market: MarketId,
    export: Annotated[Path | None, typer.Option(help="CSV to write the queue to.")] = None,
    import_: Annotated[Path | None, typer.Option("--import", help="Filled-in CSV.")] = None,
    root: Root = None,
) -> None:
    """Take the queue of scores that wait for a person, or give back what was decided."""
    from insight_lib.lake.decisions import append_decisions
    from insight_lib.prediction.review import read_decisions_csv, same_person, write_queue_csv

    if (export is None) == (import_ is None):
        typer.secho("give --export or --import", err=True, fg="red")
        raise typer.Exit(2)
    with _told():
        opened, _ = _open(market, root)
        queue = opened.table("review_queue").to_pandas()
        if export is not None:
            write_queue_csv(queue, export)
            typer.echo(f"{len(queue)} scores wait; decide in {export} and give it to --import")
        elif import_ is not None:
            roles = {same_person(role) for role in opened.registers.owners}
            rows = read_decisions_csv(import_, queue, day=opened.as_of, roles=roles)
            append_decisions(opened.root, "reviews", rows)
            typer.echo(f"{len(rows)} decisions kept; run the stage decisions again")


def contacts(
    market: MarketId,
    to: Annotated[Path, typer.Option(help="CSV to write the list to.")],
    root: Root = None,
) -> None:
    """Write the contact list as it may be used now: without all who have refused since."""
    from insight_lib.prediction.review import write_sheet

    with _told():
        opened, _ = _open(market, root)
        given = opened.table("contacts")
        listed = int(given.count().execute())
        allowed = opened.consenting(given, "activation").to_pandas()
        # A list only shrinks: who was rejected since it was made is not contacted either.
        rejected = {
            str(d["customer_id"]) for d in opened.decisions("reviews") if d["verdict"] == "reject"
        }
        allowed = allowed[~allowed["customer_id"].isin(rejected)]
        if "value_amount" in allowed:
            allowed = allowed.sort_values(
                ["value_amount", "customer_id"], ascending=[False, True], kind="stable"
            )
        write_sheet(allowed[["customer_id", "channel"]], to)
        typer.echo(
            f"{to}: {len(allowed)} customers of the list of {opened.as_of}, which was made for "
            f"{listed}; write it again before each use"
        )


def why(
    market: MarketId,
    customer: Annotated[str, typer.Option(help="Customer id.")],
    on: Day = None,
    target: Annotated[str | None, typer.Option(help="One target; all if not given.")] = None,
    root: Root = None,
) -> None:
    """Say why a customer had a score on a day, computed again from the log."""
    from insight_lib.prediction.chain import why as answer

    with _told():
        opened, registry = _open(market, root, on)
        found = answer(
            opened.table("score_log").to_pandas(),
            opened.table("score_inputs").to_pandas(),
            registry,
            customer_id=customer,
            on=opened.as_of,
            target=target,
        )
        for one in found:
            typer.echo("\n    ".join(one.sentences))
        if any(one.faults for one in found):
            raise typer.Exit(1)
