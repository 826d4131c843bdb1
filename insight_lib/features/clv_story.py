"""Customer value in words."""

from __future__ import annotations

from insight_lib.features.clv import CustomerValue, FitQuality, ModelChoice
from insight_lib.features.clv_holdout import Holdout, reaches_the_horizon
from insight_lib.features.gamma_gamma import SpendFit
from insight_lib.findings import Check, Finding, Measured, Prose, Verdict

FORECAST_TAKES = "more months, more customers who bought again, and sales above what is taken back"
_LINES = ("transactions",)
_ROWS = ("CLV",)
_REGULAR = 1.2  # Erlang shape from which gaps are too regular for the models
_BURSTS = 0.8
_MODELS_AGREE = 0.1  # in the share of active customers; further apart, only a range is said
_NEARLY_ALL = 0.95
_MISPLACED = 0.05  # share of customers in the wrong group from which the fit is looked at


def judge_bias(holdout: Holdout, largest_bias: float) -> Verdict:
    """Pass if the forecast surely missed by less than allowed, fail if surely by more."""
    bias = holdout.bias
    if bias.lower > largest_bias or bias.upper < -largest_bias:
        return Verdict.FAIL
    if abs(bias.value) <= largest_bias:
        return Verdict.PASS
    return Verdict.REVIEW


def describe_customer_value(
    result: CustomerValue, holdout: Holdout | Finding, *, largest_bias: float
) -> Finding:
    """What today's customers will spend, and whether a test forecast backs it.

    Args:
        holdout: The test forecast, or the finding that says why there is none.
        largest_bias: Largest relative miss of the test forecast that is still usable.
    """
    as_of = result.value.as_of
    months = Measured(value=result.horizon_months, unit="months", n=1, as_of=as_of)
    if isinstance(holdout, Finding):
        verdict = Verdict.CANNOT_TELL
        advice = Prose("No test forecast backs this yet; do not set budgets by it.")
    elif not reaches_the_horizon(holdout, horizon_months=result.horizon_months):
        verdict = Verdict.CANNOT_TELL
        advice = Prose(
            "Use it to rank customers, not to set budgets: the test forecast reached only {days}, "
            "and was {miss}.",
            days=Measured(value=holdout.days, unit="days", n=1, as_of=as_of),
            miss=_miss(holdout),
        )
    elif judge_bias(holdout, largest_bias) is Verdict.PASS:
        verdict = Verdict.MATTERS
        advice = Prose(
            "The best fifth will bring {top} of it: cap what you spend to keep a customer by "
            "the own expected value.",
            top=result.top_share,
        )
    else:
        verdict = Verdict.CANNOT_TELL
        advice = Prose(
            "Use it to rank customers, not to set budgets: the test forecast was {miss}.",
            miss=_miss(holdout),
        )
    is_promise = result.annual_discount_rate == 0
    return Finding(
        id="features.customer_value",
        rows=_ROWS,
        statement=Prose(
            "Today's customers will spend {value} in the next {months} (likely {value:range})."
            if is_promise
            else "What today's customers will spend in the next {months} is worth {value} today "
            "(likely {value:range}).",
            value=result.value,
            months=months,
        ),
        verdict=verdict,
        owner="crm-lead",
        evidence=_LINES,
        value=result.value,
        good="up",
        so_what=Prose("{advice}{back}", advice=advice, back=_taken_back(result)),
        weight=4.0 if verdict is Verdict.MATTERS else 2.3,
    )


def carries_budgets(
    value: CustomerValue | Finding, holdout: Holdout | Finding, *, largest_bias: float
) -> bool | None:
    """Whether the forecast may set budgets, by its own test; None where there is no forecast."""
    if isinstance(value, Finding):
        return None
    found = describe_customer_value(value, holdout, largest_bias=largest_bias)
    return found.verdict is Verdict.MATTERS


def _taken_back(result: CustomerValue) -> Prose:
    if result.kept.value == 1:
        return Prose("")
    back = Measured(
        value=1 - result.kept.value, unit="share", n=result.kept.n, as_of=result.kept.as_of
    )
    return Prose(" What they send back is not in it: {back} of what is bought.", back=back)


def describe_active(result: CustomerValue) -> Finding:
    """How many customers are still customers, and what one will spend on average."""
    low, high = result.active_range
    is_sure = high.value - low.value <= _MODELS_AGREE
    return Finding(
        id="features.active_customers",
        rows=_ROWS,
        statement=Prose(
            "About {active:in_hundred} customers ever seen are still customers; one will spend "
            "{mean} in the period on average (likely {mean:range}).",
            active=result.active,
            mean=result.mean_value,
        )
        if is_sure
        else Prose(
            "Between {low:in_hundred} and {high:in_hundred} customers ever seen are still "
            "customers, depending on the model of leaving; one will spend {mean} in the period "
            "on average (likely {mean:range}).",
            low=low,
            high=high,
            mean=result.mean_value,
        ),
        verdict=Verdict.DOES_NOT_MATTER
        if is_sure and low.value >= _NEARLY_ALL
        else Verdict.MATTERS
        if is_sure
        else Verdict.CANNOT_TELL,
        owner="crm-lead",
        evidence=_LINES,
        value=result.mean_value,
        good="up",
        so_what=Prose(
            "{advice}",
            advice="Nearly nobody has left: it takes no campaign to win customers back."
            if is_sure and low.value >= _NEARLY_ALL
            else "Write to those with a fair chance of still being customers first."
            if is_sure
            else "Leaving is never seen, so the share hangs on the model: rank customers by when "
            "they last bought, and plan with no share of active customers.",
        ),
        weight=2.2,
    )


def _miss(holdout: Holdout) -> Prose:
    return Prose(
        "{size} too {side} (likely {low} to {high})",
        size=_signless(holdout.bias.value, holdout),
        side="high" if holdout.bias.value > 0 else "low",
        low=_points_of(holdout.bias.lower, holdout),
        high=_points_of(holdout.bias.upper, holdout),
    )


def _signless(value: float, holdout: Holdout) -> Measured:
    return _points_of(abs(value), holdout)


def _points_of(value: float, holdout: Holdout) -> Measured:
    bias = holdout.bias
    return Measured(value=round(value, 3), unit="change", n=bias.n, as_of=bias.as_of)


def describe_holdout(result: Holdout, *, largest_bias: float) -> Check:
    """Did a forecast made at the cut come true, and for whom does it not speak."""
    verdict = judge_bias(result, largest_bias)
    shape = result.regularity.shape if result.regularity else None
    if shape is not None and shape.lower > _REGULAR:
        rhythm = Prose(
            " Purchases come more regularly than the model assumes ({shape} where chance gives "
            "{one}), so single late customers are judged too mildly.",
            shape=shape,
            one=Measured(value=1, unit="ratio", n=shape.n, as_of=shape.as_of),
        )
    elif shape is not None and shape.upper < _BURSTS:
        rhythm = Prose(" Purchases come in bursts, so a short silence is judged too mildly.")
    else:
        rhythm = Prose("")
    advice = {
        Verdict.PASS: "As far ahead as that, plan with the forecast and its range.",
        Verdict.REVIEW: "Plan with the range; repeat the test when more weeks have passed.",
        Verdict.FAIL: "Do not plan with the total: season, growth or a changed offer is not in "
        "the model. Ranking customers by it remains usable.",
    }[verdict]
    return Check(
        id="features.value_holdout",
        rows=_ROWS,
        statement=Prose(
            "A forecast by the model in use, {model}, made on {cut} for {days} was {miss}: "
            "{expected} purchases expected, {actual} came."
            "{newcomers}{rhythm}",
            model=result.choice.best.model.value,
            cut=result.cut,
            days=Measured(value=result.days, unit="days", n=1, as_of=result.actual.as_of),
            miss=_miss(result),
            expected=_whole(result.expected),
            actual=result.actual,
            newcomers=Prose(
                " {new} customers came later and made {new_share} of all purchases; no forecast "
                "speaks of them.",
                new=result.new_customers,
                new_share=result.new_share,
            )
            if result.new_customers.value
            else Prose(""),
            rhythm=rhythm,
        ),
        verdict=verdict,
        owner="analyst",
        evidence=_LINES,
        value=result.bias,
        so_what=Prose(advice),
        weight=1.4,
    )


def _whole(value: Measured) -> Measured:
    return Measured(value=round(value.value), unit=value.unit, n=value.n, as_of=value.as_of)


def describe_model_choice(result: ModelChoice, quality: FitQuality | Finding) -> Check:
    """Which purchase model is in use, why, and how well it gives back what it was fitted on."""
    best = result.best
    # Which model is likelier is one question, whether its numbers are known well is another:
    # said in one breath, so that the page has one word on how far to trust it.
    why = (
        "the data favour it"
        if result.is_clear and best.is_identified
        else "it fits best of those tried, though its parameters are not known well"
        if result.is_clear
        else "the data do not tell it from the next, and it is the best known"
        if len(result.fits) > 1
        else "it was set"
    )
    if isinstance(quality, Finding):
        fit, verdict = Prose("too few customers to test its fit"), Verdict.REVIEW
    else:
        fit = Prose(
            "it puts {misplaced} of customers in the wrong group by number of purchases",
            misplaced=quality.misplaced,
        )
        is_close = quality.misplaced.value <= _MISPLACED
        verdict = Verdict.PASS if best.is_identified and is_close else Verdict.REVIEW
    return Check(
        id="features.value_model",
        rows=_ROWS,
        statement=Prose(
            "Purchases are forecast with {model}, because {why}; {fit}.",
            model=best.model.value,
            why=why,
            fit=fit,
        ),
        verdict=verdict,
        owner="analyst",
        evidence=_LINES,
        so_what=Prose(
            "{advice}",
            advice=(
                "No action."
                if verdict is Verdict.PASS
                else "Trust the test forecast, and values of single customers only in their order."
                if not best.is_identified
                else "Look at the chart of fit before using the values of single customers."
            ),
        ),
        weight=0.9,
    )


def describe_spend_link(result: SpendFit, *, largest_correlation: float = 0.2) -> Check:
    """The spend model takes spend per purchase as unrelated to how often one buys: is it."""
    link = result.correlation
    if link is None:
        word, is_small = "spend just as much", True
    else:
        is_small = abs(link) <= largest_correlation
        word = "spend about as much" if is_small else "spend more" if link > 0 else "spend less"
    is_known = link is None or result.is_identified
    return Check(
        id="features.value_spend",
        rows=_ROWS,
        statement=Prose("Customers who buy more often {word} per purchase.", word=word),
        verdict=Verdict.PASS if is_small and is_known else Verdict.REVIEW,
        owner="analyst",
        evidence=_LINES,
        so_what=Prose(
            "{advice}",
            advice="The value of frequent customers is off in that direction; forecast them apart."
            if not is_small
            else "No action."
            if is_known
            else "The data do not pin the spread of spend down; trust the totals only.",
        ),
        weight=0.6,
    )
