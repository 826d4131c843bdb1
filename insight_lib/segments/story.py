"""Results in words: the only place of this stage with sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta

from insight_lib.findings import Check, Finding, Measured, Prose, Verdict, counted
from insight_lib.segments.attitudes import SideBySide
from insight_lib.segments.audit import Audit
from insight_lib.segments.crosswalk import Crosswalk
from insight_lib.segments.find import Found, Moves
from insight_lib.segments.granularity import Granularity
from insight_lib.segments.identity import Interval
from insight_lib.segments.naming import NEARLY_ALONE, Lift
from insight_lib.segments.power import PowerPlan
from insight_lib.segments.responsiveness import Decision, Responsiveness
from insight_lib.segments.solution import NO_MORE_THAN_CHANCE, ONE_CLOUD, Solution
from insight_lib.statistics import in_points

_LINES = ("transactions", "customer_features")
_ENOUGH_POWER = 0.8


def listed(names: Sequence[str]) -> str:
    """Names as they stand in a sentence."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def describe_solution(result: Solution, *, as_of: date) -> Finding:
    """Are there groups, is it one market, or is it not known."""
    n = len(result.customer_id)
    if result.chosen is None:
        return _no_segments(result, n=n, as_of=as_of)
    return Finding(
        id="segments.found",
        rows=("C3.2",),
        statement=Prose(
            "Customers fall into {k} real groups by what they buy and where.",
            k=counted(result.k, n, as_of),
        ),
        verdict=Verdict.MATTERS,
        owner="crm-lead",
        evidence=_LINES,
        value=counted(result.k, n, as_of),
        so_what=Prose(
            "Plan range and messages by group. Fewer customers stand between the groups than one "
            "cloud would have there, every group came back when customers were drawn again, and "
            "{share} of chance data sets look as distinct.",
            share=Measured(value=result.chance_share, unit="share", n=n, as_of=as_of),
        ),
        weight=6,
    )


def _no_segments(result: Solution, *, n: int, as_of: date) -> Finding:
    """No groups: seen and not sure enough, surely of degree, or hidden by few purchases."""
    none = (NO_MORE_THAN_CHANCE, ONE_CLOUD)
    near = [c.fault for c in result.candidates if c.fault not in none]
    if near:
        answer, verdict = "Groups show, but none is sure enough to plan by.", Verdict.CANNOT_TELL
        reason = near[0]
    elif not result.candidates:
        answer = "No segments show: customers differ no more than one customer's own orders do."
        verdict, reason = Verdict.CANNOT_TELL, "kinds that differ little could still hide"
    elif result.power is not None and result.power >= _ENOUGH_POWER:
        answer = "No segments: customers differ by degree, not by kind."
        verdict = Verdict.DOES_NOT_MATTER
        reason = "as many stand in the middle as at the ends; kinds would have shown"
    else:
        answer = "No segments show; whether customers differ by kind cannot be told yet."
        verdict = Verdict.CANNOT_TELL
        reason = "purchases are too few for kinds of customers to stand out from chance"
    return Finding(
        id="segments.found",
        rows=("C3.2",),
        statement=Prose("{answer}", answer=answer),
        verdict=verdict,
        owner="crm-lead",
        evidence=_LINES,
        value=counted(0, n, as_of),
        so_what=Prose(
            "Act on value and lateness per customer. Among {n} customers looked at, {reason}.",
            n=counted(n, n, as_of),
            reason=reason,
        ),
        weight=6,
    )


def describe_stability(result: Solution, *, as_of: date) -> Check:
    """The yardsticks of the published solution, or that there is none."""
    n = result.n_fitted
    chosen = result.chosen
    if chosen is None or chosen.kept is None:
        reasons = sorted({c.fault for c in result.candidates if c.fault})
        return Check(
            id="segments.stability",
            rows=("C3.2",),
            statement=Prose("No grouping passes, so none is published."),
            verdict=Verdict.REVIEW,
            owner="analyst",
            evidence=_LINES,
            so_what=Prose(
                "{why}",
                why=f"Of those tried: {'; '.join(reasons)}."
                if reasons
                else "No grouping was tried, for nothing sets customers apart.",
            ),
        )
    weakest = Measured(value=min(chosen.jaccard), unit="ratio", n=n, as_of=as_of)
    return Check(
        id="segments.stability",
        rows=("C3.2",),
        statement=Prose(
            "The weakest group overlaps {weakest} with its resampled self; of what a plan by group "
            "gains, {kept} is left in the half year after (likely {kept:range}).",
            weakest=weakest,
            kept=chosen.kept,
        ),
        verdict=Verdict.PASS,
        owner="analyst",
        evidence=_LINES,
        value=weakest,
        so_what=Prose(
            "Published because the weakest needs at least {limit}, and because more than {half} "
            "is surely left: from there on customers in the wrong group cost less than the others "
            "bring.",
            limit=Measured(
                value=result.thresholds.smallest_jaccard, unit="ratio", n=n, as_of=as_of
            ),
            half=Measured(value=result.thresholds.smallest_kept, unit="ratio", n=n, as_of=as_of),
        ),
    )


def describe_inputs(found: Found, *, n_customers: int, as_of: date) -> Check:
    """What was done to the data before grouping."""
    n = len(found.values)
    renamed = found.purchases.renamed
    said = []
    if renamed:
        said.append(f"Taken for one under two names: {listed(renamed)}.")
    if found.purchases.pooled:
        said.append(f"Sold in a part of the time and put with the others: "
                    f"{listed(found.purchases.pooled)}.")  # fmt: skip
    if found.recipe.silent:
        said.append(
            f"Tells nothing of customers and weighs nothing: {listed(found.recipe.silent)}."
        )
    return Check(
        id="segments.inputs",
        rows=("C3.2",),
        statement=Prose(
            "{placed} of {all} customers ordered on enough days of the last {days} to be grouped.",
            placed=counted(n, n_customers, as_of),
            all=counted(n_customers, n_customers, as_of),
            days=Measured(value=found.days, unit="days", n=n, as_of=as_of),
        ),
        verdict=Verdict.REVIEW if n < n_customers / 2 or renamed else Verdict.PASS,
        owner="analyst",
        evidence=_LINES,
        so_what=Prose(
            "Returns do not count as purchases. The others stay apart as few orders and are not "
            "forced into a group. {said}",
            said=" ".join(said),
        ),
    )


def describe_difference(lifts: Sequence[Lift], names: Mapping[str, str]) -> Finding | None:
    """The clearest difference between segments."""
    clear = [f for f in lifts if f.is_clear]
    if not clear:
        return None
    top = max(clear, key=lambda f: (f.ratio.lower, f.segment, f.feature))
    if top.ratio.value > NEARLY_ALONE:
        statement = Prose(
            "{name}: hardly any other customer shows {feature}.",
            name=names[top.segment],
            feature=top.words,
        )
    else:
        statement = Prose(
            "{name} buys {lift} times as much {feature}, by share, as other customers "
            "(likely {lift:range}).",
            name=names[top.segment],
            lift=top.ratio,
            feature=top.words,
        )
    return Finding(
        id="segments.difference",
        rows=("C3.4",),
        statement=statement,
        verdict=Verdict.MATTERS,
        owner="category-manager",
        evidence=("transactions", "products"),
        value=top.ratio,
        so_what=Prose("Show each group what it comes for; start with the clearest difference."),
        weight=3,
    )


def describe_names(
    suggested: Mapping[str, str], confirmed: Mapping[str, str], *, as_of: date
) -> Check:
    """Which names a person has confirmed."""
    missing = [name for segment, name in suggested.items() if segment not in confirmed]
    n = len(suggested)
    return Check(
        id="segments.names",
        rows=("C3.4",),
        statement=Prose(
            "{n} of {all} names are unconfirmed.",
            n=counted(len(missing), n, as_of),
            all=counted(n, n, as_of),
        ),
        verdict=Verdict.REVIEW if missing else Verdict.PASS,
        owner="crm-lead",
        evidence=("segments",),
        so_what=Prose(
            "{advice}",
            advice="Confirm them in the notebook's form; a confirmed name stays with its group."
            if missing
            else "No action; the names follow their groups when they are remade.",
        ),
        due=as_of + timedelta(days=14) if missing else None,
    )


def describe_power(result: PowerPlan, names: Mapping[str, str], *, as_of: date) -> Finding:
    """Which segments can carry a test of their own."""
    weak = [p for p in result.before if not p.is_enough]
    n = sum(p.n_customers for p in result.before)
    smallest = result.smallest_effect_that_matters
    enough = in_points(Measured(value=smallest, unit="share", n=n, as_of=as_of))
    worst = max(result.before, key=lambda p: (p.detectable.value, p.segment))
    if not weak:
        statement = Prose("Every group is large enough to test a change of {e} alone.", e=enough)
        so_what = Prose("Test each segment on its own.")
    elif all(p.is_enough for p in result.after):
        statement = Prose(
            "{names} are too small to test a change of {e} alone.",
            names=listed([names[p.segment] for p in weak]),
            e=enough,
        )
        so_what = Prose(
            "Test together: {pairs}.",
            pairs=listed([f"{names[m.segment]} with {names[m.into]}" for m in result.merges]),
        )
    else:
        statement = Prose(
            "Even all customers together are too few to test a change of {e} at once.", e=enough
        )
        so_what = Prose(
            "Test over several campaigns, or accept only larger effects as proof; the smallest "
            "group shows {detectable} or more.",
            detectable=in_points(worst.detectable),
        )
    return Finding(
        id="segments.power",
        rows=("M7.3",),
        statement=statement,
        verdict=Verdict.MATTERS if weak else Verdict.DOES_NOT_MATTER,
        owner="analyst",
        evidence=("segments",),
        value=worst.detectable,
        good="down",
        so_what=so_what,
        weight=1.6,
    )


def describe_granularity(
    result: Granularity, *, n_found: int, period_days: int, as_of: date
) -> Finding:
    """How many segments are worth running, against how many were found."""
    n = result.lost.n
    chosen = counted(result.chosen.k, n, as_of)
    gain = Measured(value=result.chosen.net_amount, unit=result.lost.unit, n=n, as_of=as_of)
    if result.chosen.k == 1:
        statement = Prose("No split pays for itself in what customers will spend.")
    else:
        statement = Prose(
            "For budgets, {k} groups pay best: about {gain} in {days} after their cost.",
            k=chosen,
            gain=gain,
            days=Measured(value=period_days, unit="days", n=n, as_of=as_of),
        )
    if result.is_limited:
        so_what = Prose(
            "Only {capacity} can be served at once, which costs {lost} against the best number.",
            capacity=counted(result.channel_capacity, n, as_of),
            lost=result.lost,
        )
    elif result.chosen.k == 1:
        so_what = Prose("Run one plan by value; use groups for range and tone, not for budget.")
    elif result.chosen.k < n_found:
        so_what = Prose(
            "Use all {found} for range and tone, but split budgets no further: the rest differs "
            "less in value than it costs to run.",
            found=counted(n_found, n, as_of),
        )
    else:
        so_what = Prose("More groups would differ less in value than they cost to run.")
    return Finding(
        id="segments.granularity",
        rows=("C3.3",),
        statement=statement,
        verdict=Verdict.MATTERS if result.chosen.k > 1 else Verdict.DOES_NOT_MATTER,
        owner="crm-lead",
        evidence=_LINES,
        value=gain,
        good="up",
        so_what=so_what,
        weight=2.4,
    )


def describe_interval(moves: Moves, interval: Interval, *, days_between: int) -> Finding:
    """How fast customers move, and when to remake the segments."""
    as_of, moved = moves.moved.as_of, moves.moved
    days = Measured(value=days_between, unit="days", n=1, as_of=as_of)
    chance = Measured(value=moves.by_chance, unit="share", n=moved.n, as_of=as_of)
    is_sure = moved.lower > 0
    if is_sure:
        statement = Prose(
            "{moved:in_hundred} customers changed group in {days} (likely {moved:range}).",
            moved=moved,
            days=days,
        )
    else:
        statement = Prose(
            "Nobody surely changed group in {days} (likely {moved:range} of customers).",
            moved=moved,
            days=days,
        )
    return Finding(
        id="segments.moves",
        rows=("C3.5",),
        statement=statement,
        verdict=Verdict.MATTERS if is_sure else Verdict.DOES_NOT_MATTER,
        owner="crm-lead",
        evidence=_LINES,
        value=moved,
        good="down",
        so_what=Prose(
            "Remake the segments every {days}; {driver}.{chance} Groups that go on keep their "
            "identity.",
            days=interval.days,
            driver=f"{interval.driver} wear them out first"
            if any(rate > 0 for rate in interval.wear_per_year.values())
            else "nothing wears them out measurably",
            chance=Prose(" {share} seem to move only because their orders are few.", share=chance)
            if chance.value > 0
            else "",
        ),
        due=as_of + timedelta(days=int(interval.days.value)),
        weight=2.2,
    )


def describe_responsiveness(
    result: Responsiveness, names: Mapping[str, str], *, as_of: date
) -> Finding:
    """Where to roll out, where not, where to go on testing."""
    go, no, keep = (
        [names.get(s, s) for s in result.decided(d)]
        for d in (Decision.GO, Decision.NO_GO, Decision.KEEP_TESTING)
    )
    best = max(result.responses, key=lambda r: (r.effect.value, r.segment))
    if go:
        statement = Prose(
            "Campaign {campaign} works for {names}: roll it out there.",
            campaign=result.campaign_id,
            names=listed(go),
        )
        verdict = Verdict.MATTERS
    elif keep:
        statement = Prose(
            "Campaign {campaign} is not yet proven in any single group.",
            campaign=result.campaign_id,
        )
        verdict = Verdict.CANNOT_TELL
    else:
        statement = Prose("Campaign {campaign} works for nobody.", campaign=result.campaign_id)
        verdict = Verdict.DOES_NOT_MATTER
    advice = [
        f"{word} {listed(which)}"
        for word, which in (("go on testing", keep), ("do not send to", no))
        if which
    ]
    return Finding(
        id="segments.responsiveness",
        rows=("C3.7",),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=("assignments", "responses", "segments"),
        value=best.effect,
        good="up",
        so_what=Prose(
            "Strongest in {name}: {outcome} {effect:signed} (likely {effect:range}). {advice}.",
            name=names.get(best.segment, best.segment),
            effect=in_points(best.effect),
            outcome=result.outcome,
            advice=listed(advice).capitalize() if advice else "Every group answers",
        ),
        due=as_of + timedelta(days=30),
        weight=4,
    )


def describe_uses(result: SideBySide, *, published: Collection[str], as_of: date) -> Finding:
    """Which kind of segmentation serves which use.

    Args:
        published: Kinds of groups that are published; others cannot serve anything yet.
    """
    wins = sorted(result.winner.items())
    served = [f"{use} by {name} groups" for use, name in wins if name in published]
    absent = [f"{name} groups for {use}" for use, name in wins if name not in published]
    n = counted(result.n_respondents, result.n_respondents, as_of)
    if served:
        statement = Prose("Serve {served}.", served=listed(served))
    elif absent:
        statement = Prose(
            "Nothing serves yet: {absent} would tell most, and no such groups are published.",
            absent=listed(absent),
        )
    else:
        statement = Prose(
            "No kind of group is proven to serve acquisition or retention on {n} customers.", n=n
        )
    unserved = listed(list(result.unserved)) if result.unserved else ""
    unsure = [use for use, clear in result.is_clear.items()
              if not clear and result.winner.get(use) in published]  # fmt: skip
    if unsure:
        advice = (
            f"The lead for {listed(unsure)} is within chance, so the cheapest to keep is taken."
        )
    elif served:
        advice = "Use each where it wins."
    else:
        advice = "Plan both by value until there are groups that can be told apart."
    if served and absent:
        advice += f" Not published, so not used: {listed(absent)}."
    return Finding(
        id="segments.uses",
        rows=("C3.1",),
        statement=statement,
        verdict=Verdict.MATTERS if served else Verdict.CANNOT_TELL,
        owner="crm-lead",
        evidence=("customer_features", "surveys"),
        so_what=Prose(
            "{left}{advice}",
            left=f"Left unserved: {unserved}. " if unserved else "",
            advice=advice,
        ),
        value=n,
        weight=1.8,
    )


def describe_scale(n_off: int, *, n_answers: int, as_of: date) -> Check | None:
    """Answers off the scale, which were left out; nothing if there are none."""
    if not n_off:
        return None
    return Check(
        id="segments.survey_scale",
        rows=("C3.1",),
        statement=Prose(
            "{n} of {all} survey answers lie off their scale and were left out.",
            n=counted(n_off, n_answers, as_of),
            all=counted(n_answers, n_answers, as_of),
        ),
        verdict=Verdict.REVIEW,
        owner="data-engineer",
        evidence=("surveys",),
        so_what=Prose(
            "If they are codes of no answer, empty them in the source; if they are answers, "
            "declare the scale as segments.answer_scale."
        ),
    )


def describe_crosswalk(result: Crosswalk, *, smallest_kept_share: float) -> Finding:
    """Whether figures may be carried over a redefinition."""
    goes_on = result.is_continuous(smallest_kept_share)
    return Finding(
        id="segments.redefinition",
        rows=("M7.5",),
        statement=Prose(
            "Remade segments keep {kept} of revenue in place{word}.",
            kept=result.kept,
            word=": figures go on" if goes_on else ": their series break here",
        ),
        verdict=Verdict.DOES_NOT_MATTER if goes_on else Verdict.MATTERS,
        owner="analyst",
        evidence=_LINES,
        value=result.kept,
        good="up",
        so_what=Prose(
            "{advice}",
            advice=(
                "Carry the figures on under the same names."
                if goes_on
                else "Report both definitions side by side once, and start new series."
            ),
        ),
        weight=1.4,
    )


def describe_totals(result: Crosswalk, *, as_of: date) -> Check:
    """Restated totals are equal."""
    n = int(result.customers.to_numpy().sum())
    return Check(
        id="segments.restated_totals",
        rows=("M7.5",),
        statement=Prose(
            "Revenue {word} under both definitions.",
            word="is the same" if result.adds_up else "differs",
        ),
        verdict=Verdict.PASS if result.adds_up else Verdict.FAIL,
        owner="data-engineer",
        evidence=_LINES,
        value=counted(n, n, as_of),
        so_what=Prose(
            "{advice}",
            advice="No action." if result.adds_up else "Find the customers counted twice.",
        ),
    )


def describe_audit(result: Audit, *, as_of: date) -> Finding:
    """What the field says of membership, and whether to change a rule."""
    proposal = result.proposal
    statement = Prose(
        "The field calls {precision:in_hundred} memberships right (likely {precision:range}).",
        precision=result.precision,
    )
    if proposal is not None and proposal.is_adopted:
        statement = Prose(
            "The rule “{rule}” puts {wrong:in_hundred} of its customers into a wrong group.",
            rule=proposal.rule.rule,
            wrong=proposal.rule.wrong,
        )
        so_what = Prose(
            "Change it: on feedback held back, that puts {gain:size} more customers right "
            "(likely {gain:range}). The field calls {precision:in_hundred} memberships right.",
            gain=proposal.gain,
            precision=result.precision,
        )
        verdict = Verdict.MATTERS
    elif proposal is not None:
        so_what = Prose(
            "Keep the rules: changing {rule} shows no gain on feedback held back "
            "(likely {gain:range}).",
            rule=proposal.rule.rule,
            gain=proposal.gain,
        )
        verdict = Verdict.DOES_NOT_MATTER
    else:
        so_what, verdict = Prose("Keep the rules; none stands out."), Verdict.DOES_NOT_MATTER
    return Finding(
        id="segments.feedback",
        rows=("M6.6",),
        statement=statement,
        verdict=verdict,
        owner="insight-lead",
        evidence=("feedback", "customers"),
        value=result.precision,
        good="up",
        so_what=so_what,
        due=as_of + timedelta(days=30) if verdict is Verdict.MATTERS else None,
        weight=2.6,
    )
