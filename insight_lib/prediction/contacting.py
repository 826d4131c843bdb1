"""Whom to contact, within the hours and the rules that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import ibis
import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Estimate, Measured, TooFew, counted
from insight_lib.prediction.currency import in_currency
from insight_lib.prediction.loaded import Keeper
from insight_lib.prediction.released import Worth
from insight_lib.prediction.review import Split
from insight_lib.prediction.scoring import Scoring
from insight_lib.prediction.stakes import SpendIfKept, refuse_guessing
from insight_lib.prediction.targeting import (
    Channel,
    ChannelPlan,
    ContactRules,
    Eligibility,
    RuleName,
    Targeting,
    apply_contact_rules,
    estimate_targeting,
)
from insight_lib.prose import Name

if TYPE_CHECKING:
    from datetime import date

    import ibis.expr.types as ir

    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.run import Run


def margin(market: Keeper) -> float:
    """Margin as a share of what customers spend, as stage 09 reckons it."""
    return float(market.parameters.impact.gross_margin_share)


def past(market: Keeper) -> pd.DataFrame | None:
    """Forecasts of own models for later days and what came, where stage prediction gave any."""
    # Not a need by its name: the analysis of that name makes the table anew.
    has_past = market.has("past_scores")
    return market.table("past_scores").to_pandas() if has_past else None


def may_be_contacted(market: Keeper, customers: pd.Index) -> list[str]:
    """Those of the customers who agree, by what the licences of all that was read allow.

    Raises:
        TooFew: A licence does not grant it, or there is no word on consent.
    """
    everyone = pd.DataFrame({"customer_id": customers.astype(str)})
    try:
        agreed = market.consenting(ibis.memtable(everyone), "activation")
    except PermissionError as refused:
        raise TooFew(f"customers may not be contacted: {refused}") from refused
    return sorted(agreed.to_pandas()["customer_id"])


def ranked(scoring: Scoring, past: pd.DataFrame | None, run: Run[PredictionParameters]) -> str:
    """Id of the target that says who leaves, if its scores rank customers.

    Raises:
        TooFew: Nobody is scored on leaving, or as `refuse_guessing`.
    """
    leaving = scoring.leaving
    if leaving not in scoring.by_target:
        raise TooFew("nobody is scored on leaving")
    refuse_guessing(
        next(one for one in scoring.scored if one.target == leaving),
        scoring.known,
        scoring.targets[leaving],
        past,
        smallest_auc=run.parameters.smallest_auc,
        as_of=run.as_of,
    )
    return leaving


def eligible(
    scoring: Scoring,
    market: Keeper,
    run: Run[PredictionParameters],
    assignments: ir.Table | None = None,
    crm_flags: ir.Table | None = None,
) -> Eligibility:
    """Who may be contacted by consent, contacts so far and open complaints.

    Raises:
        TooFew: As `may_be_contacted`.
    """
    p, customers = run.parameters, scoring.today.features.index
    frame = pd.DataFrame(index=customers)
    frame["has_consent"] = frame.index.isin(may_be_contacted(market, customers))
    sent = pd.DataFrame() if assignments is None else assignments.to_pandas()
    if "assigned_at" in sent:
        sent = sent[sent["arm"] != "control"]
        today = pd.Timestamp(run.as_of, tz="UTC")
        ago = (today - pd.to_datetime(sent["assigned_at"], utc=True)).dt.days
        frame["days_since_contact"] = ago.groupby(sent["customer_id"]).min()
        lately = ago < p.contact_window_days
        frame["n_contacts"] = sent[lately].groupby("customer_id").size()
    if crm_flags is not None:
        flags = crm_flags.to_pandas().sort_values("flagged_at", kind="stable")
        last = flags[flags["flag"] == "open_complaint"].groupby("customer_id")["flag_value"].last()
        frame["has_open_complaint"] = last.reindex(frame.index).eq(True)
    rules = ContactRules(rest_days=p.contact_rest_days, most_contacts=p.most_contacts)
    return apply_contact_rules(frame.sort_index(), rules, as_of=run.as_of)


def channels(run: Run[PredictionParameters], fx_rates: ir.Table | None = None) -> list[Channel]:
    """The ways to contact customers, at their cost in the market's currency.

    Raises:
        TooFew: There is no rate to it.
    """
    rates = None if fx_rates is None else fx_rates.to_pandas()
    return [
        Channel(
            id=name,
            title=c.title,
            hours=c.hours,
            minutes_per_contact=c.minutes_per_contact,
            cost_amount=in_currency(
                c.cost_amount, to=run.currency, fx_rates=rates, as_of=run.as_of
            ),
        )
        for name, c in run.parameters.channels.items()
    ]


def free(ranked: str, split: Split) -> pd.Series[float]:
    """Scores on leaving of those of whom no score waits for a person or was rejected."""
    held = set(split.queue["customer_id"]) | set(split.rejected["customer_id"])
    mine = split.released[split.released["target"] == ranked].set_index("customer_id")
    return mine.loc[~mine.index.isin(held), "score"]


def plan_of_contacts(
    free: pd.Series[float],
    eligible: Eligibility,
    channels: list[Channel],
    gains: pd.DataFrame,
    scoring: Scoring,
    run: Run[PredictionParameters],
) -> Targeting:
    """Whom to contact by which channel, so that it is worth most within the hours."""
    return estimate_targeting(
        free,
        gains.reindex(free.index).fillna(0.0),
        channels,
        eligible=eligible.customers,
        currency=run.currency,
        days_since_last_order=scoring.today.features.get("days_since_last_order"),
        seed=run.seed,
        **run.range,
    )


def gains(worth: Worth, margin: float, run: Run[PredictionParameters]) -> pd.DataFrame:
    """What a contact brings by customer and channel, if the customer would have left."""
    kept = worth.leaving.fillna(0.0).clip(lower=0.0) * margin
    return pd.DataFrame({n: kept * c.kept_share for n, c in run.parameters.channels.items()})


@dataclass(frozen=True, kw_only=True)
class ChannelRow:
    """One channel of the plan.

    Attributes:
        possible: Contacts in the hours; `is_limited` says whether there is such a limit.
    """

    title: Name
    contacts: int
    possible: int
    is_limited: bool
    value: Measured
    hour_worth: Measured | None


@dataclass(frozen=True, kw_only=True)
class Contacts:
    """Whom to contact, and what it is worth against simpler ways to use the hours.

    Attributes:
        n_contacts: Of `n` customers who may be contacted.
        worth: Of the whole plan, after the cost of contacts; `value` is it, or none.
        margin: Share of what they spend who stay.
    """

    case: Literal["no one", "sure", "unsure"]
    n_contacts: int
    n: int
    value: Measured
    worth: Estimate
    lot: Measured
    recent: Measured | None
    margin: Measured
    table: tuple[ChannelRow, ...]
    plan: Targeting

    @property
    def has_recent(self) -> bool:
        return self.recent is not None

    def draw(self, caption: Caption) -> Chart:
        """The plan against simpler uses of the same hours."""
        words = caption.labels
        alone = {"recent": self.recent, "lot": self.lot}
        rows = [(words["plan"], self.worth.value, self.worth.lower, self.worth.upper)]
        rows += [(words[n], a.value, a.value, a.value) for n, a in alone.items() if a is not None]
        return plot_bars(
            pd.DataFrame(rows, columns=["label", "value", "lower", "upper"]),
            caption=caption, label="label", value="value", lower="lower", upper="upper",
            unit=self.worth.unit, highlight=[words["plan"]],
        )  # fmt: skip


def targeting(plan_of_contacts: Targeting, margin: float) -> Contacts:
    """Whom to contact, and what that is worth."""
    plan = plan_of_contacts
    value, n = plan.value, len(plan.contacts)
    sure = value.lower > 0
    return Contacts(
        case="no one" if not n else "sure" if sure else "unsure",
        n_contacts=n,
        n=plan.n_eligible,
        value=value if n else counted(0, plan.n_eligible, value.as_of),
        worth=value,
        lot=plan.at_random,
        recent=plan.by_recency,
        margin=Measured(value=margin, unit="share", n=plan.n_eligible, as_of=value.as_of),
        table=tuple(_row(p) for p in plan.channels),
        plan=plan,
    )


def _row(plan: ChannelPlan) -> ChannelRow:
    return ChannelRow(
        title=Name(plan.channel.title),
        contacts=plan.n_contacts,
        possible=plan.n_possible,
        is_limited=plan.channel.hours is not None,
        value=Measured(
            value=plan.value.value, unit=plan.value.unit, n=plan.value.n, as_of=plan.value.as_of
        ),
        hour_worth=plan.hour_worth,
    )


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Where one more hour brings most.

    Attributes:
        n_waiting: Customers who come next with that hour.
    """

    case: Literal["worth it", "worth nothing"]
    channel: Name
    value: Measured
    n_waiting: int


def hours(plan_of_contacts: Targeting) -> Hours | None:
    """What one more hour would bring; nothing if no channel is short of hours."""
    short = [(p.hour_worth, p.channel.id, p) for p in plan_of_contacts.channels if p.hour_worth]
    if not short:
        return None
    worth, _, top = max(short, key=lambda found: (found[0].value, found[1]))
    return Hours(
        case="worth it" if worth.value > 0 else "worth nothing",
        channel=Name(top.channel.title),
        value=worth,
        n_waiting=len(top.waiting),
    )


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """Customers that one rule removes; small counts are not shown."""

    rule: RuleName
    removed: Measured | None
    alone: Measured | None
    smallest: int

    @property
    def shown(self) -> RuleName:
        return self.rule

    @property
    def removed_shown(self) -> Literal["shown", "few", "not recorded"]:
        return self._shown(self.removed)

    @property
    def alone_shown(self) -> Literal["shown", "few", "not recorded"]:
        return self._shown(self.alone)

    def _shown(self, count: Measured | None) -> Literal["shown", "few", "not recorded"]:
        if count is None:
            return "not recorded"
        return "few" if 0 < count.value < self.smallest else "shown"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Whom the contact rules leave, and which rule removes most.

    Attributes:
        value: Customers who may be contacted, of `n`.
        contacts_known, complaints_known: Whether they are on record, so that their rules bite.
    """

    case: Literal["some removed", "none removed"]
    value: Measured
    n: int
    rule: RuleName
    removed: Measured
    alone: Measured
    contacts_known: bool
    complaints_known: bool
    table: tuple[RuleRow, ...]


def rules(
    plan_of_contacts: Targeting,  # noqa: ARG001 - without a plan there is nothing to say of it
    eligible: Eligibility,
    run: Run[PredictionParameters],
) -> Rules:
    """Whom the contact rules leave for the plan."""
    return rules_of(eligible, smallest=run.smallest_cell, as_of=run.as_of)


def rules_of(found: Eligibility, *, smallest: int, as_of: date) -> Rules:
    """What the contact rules come to."""
    top = max(found.rules, key=lambda r: (r.removed.value, r.rule))
    silent = found.not_recorded
    rows = [
        RuleRow(rule=r.rule, removed=r.removed, alone=r.removed_alone, smallest=smallest)
        for r in found.rules
    ]
    rows += [RuleRow(rule=rule, removed=None, alone=None, smallest=smallest) for rule in silent]
    return Rules(
        case="some removed" if top.removed.value else "none removed",
        value=counted(len(found.customers), found.n_all, as_of),
        n=found.n_all,
        rule=top.rule,
        removed=top.removed,
        alone=top.removed_alone,
        contacts_known=not {"contacted lately", "contacted often enough"} & set(silent),
        complaints_known="open complaint" not in silent,
        table=tuple(rows),
    )


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Whether what is at stake may be taken as an amount, tried on the last period.

    Attributes:
        ratio: What those who stayed spent over what was said of them.
        top: The same of the tenth with most at stake.
    """

    case: Literal["untried", "on", "off"]
    ratio: Estimate | None
    top: Measured | None


def stakes(spend_if_kept: SpendIfKept, run: Run[PredictionParameters]) -> Tried:
    """Whether amounts at stake came as they were said."""
    gap = run.parameters.largest_amount_gap_share
    return tried(spend_if_kept, largest_gap=gap, as_of=run.as_of)


def tried(found: SpendIfKept, *, largest_gap: float, as_of: date) -> Tried:
    """What a trial of amounts at stake comes to."""
    ratio = found.ratio
    if ratio is None:
        return Tried(case="untried", ratio=None, top=None)
    is_on = ratio.lower > 1 - largest_gap and ratio.upper < 1 + largest_gap
    top = found.tenths.iloc[-1]
    share = float(top["observed"] / top["expected"]) if top["expected"] > 0 else 0.0
    return Tried(
        case="on" if is_on else "off",
        ratio=ratio,
        top=Measured(value=share, unit="ratio", n=int(top["n"]), as_of=as_of),
    )


def contacts(
    scoring: Scoring,  # noqa: ARG001 - no list without scores
    plan_of_contacts: Targeting | None = None,
) -> pd.DataFrame:
    """customer_id, channel, value_amount; nobody where there is no plan.

    An old list must not stand where there is no new one.
    """
    if plan_of_contacts is None:
        return pd.DataFrame({"customer_id": pd.Series(dtype=str), "channel": pd.Series(dtype=str)})
    return plan_of_contacts.contacts
