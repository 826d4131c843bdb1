"""High-stakes scores wait for a person; agreement says how people and model get on.

A score is held back if the amount at stake reaches a threshold, if that amount is not known,
or if its target is declared high-stakes. A decision is bound to customer, target, version and
score: another score needs another decision, and what was rejected once never leaves.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, TooFew
from insight_lib.statistics import estimate_share

RELEASE, REJECT = "release", "reject"
VERDICTS = (RELEASE, REJECT)
QUEUE_COLUMNS = ("customer_id", "target", "version", "score", "stakes_amount", "held_because")
_DECISION_COLUMNS = ("verdict", "by", "why")
_BOUND = ("customer_id", "target", "version", "score")
_FORMULA = re.compile(r"[=+\-@\t\r]")
_MOST_SHOWN = 20


class DecisionFaults(ValueError):
    """A file of decisions has faults; every one with its line, and nothing of it counts."""

    def __init__(self, path: Path, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{path}: {fault}" for fault in faults))


@dataclass(frozen=True, kw_only=True)
class Stakes:
    """Which scores wait for a person.

    Attributes:
        smallest_amount: Expected amount (score times value) from which on a score waits; every
            score waits where it is not known in the market's currency.
        high_stakes_targets: Targets of which every score waits.
        n_reviewers: Different people who have to release a score.
        tolerance_share: A release holds for another score of the same customer and target that
            is at most so much higher or lower, relative to the one decided on.
        holds_days: And for so many days; within them a rejection holds whatever the score.
    """

    smallest_amount: float | None
    high_stakes_targets: Collection[str] = ()
    n_reviewers: int = 1
    tolerance_share: float = 0.0
    holds_days: int = 0


@dataclass(frozen=True, kw_only=True)
class Split:
    """Scores that may leave, scores that wait, and scores that never leave.

    Attributes:
        released: Rows as given, without those below.
        queue: `QUEUE_COLUMNS` and `n_releases`, largest stakes first.
        rejected: Rows as given.
        n_reviewed: Of `released`, how many a person has released.
    """

    released: pd.DataFrame
    queue: pd.DataFrame
    rejected: pd.DataFrame
    n_reviewed: int


def same_person(by: str) -> str:
    """One spelling of a person or role: case, accents' form and spaces make nobody another."""
    return " ".join(unicodedata.normalize("NFKC", by).casefold().replace("_", "-").split())


def score_text(score: float) -> str:
    """A score as a decision names it: four decimals."""
    return f"{float(score):.4f}"


def add_stakes(
    scores: pd.DataFrame,
    value_amount: pd.Series,
    *,
    stakes: Stakes,
    amount_targets: Collection[str],
) -> pd.DataFrame:
    """Say of every score what is at stake, and why it has to wait, if it has.

    Args:
        scores: customer_id, target, score, version.
        value_amount: What a customer (index) is worth over the horizon, in the market's
            currency.
        amount_targets: Targets whose score is an amount already.

    Returns:
        `scores` with stakes_amount and held_because (empty where it may leave).
    """
    value = scores["customer_id"].map(value_amount).astype(float)
    is_amount = scores["target"].isin(list(amount_targets))
    at_stake = scores["score"].astype(float) * value.where(~is_amount, 1.0)
    is_declared = scores["target"].isin(list(stakes.high_stakes_targets))
    limit = stakes.smallest_amount
    is_large = at_stake.abs() >= (limit if limit is not None else 0.0)
    because = np.select(
        [is_declared.to_numpy(), at_stake.isna().to_numpy(), is_large.to_numpy()],
        ["every score of this target is high-stakes", "what is at stake is not known",
         "the amount at stake is large" if limit is not None
         else "from where on a person decides is declared in another currency"],
        default="",
    )  # fmt: skip
    return scores.assign(stakes_amount=at_stake, held_because=because)


def split_released(
    scores: pd.DataFrame,
    decisions: Sequence[Mapping[str, Any]],
    *,
    stakes: Stakes,
    as_of: date | None = None,
) -> Split:
    """Take out of the scores what may not leave yet, or never.

    A decision holds for the very score that it was made on; a score that moved in its fourth
    digit overnight need not be decided again: see `Stakes.tolerance_share`.

    Args:
        scores: From `add_stakes`.
        decisions: What people decided: customer_id, target, version, score, verdict, by, why,
            day.
        as_of: Day of the scores; without it a decision holds for its very score alone.
    """
    if missing := {"held_because", "stakes_amount"} - set(scores.columns):
        raise ValueError(f"scores lack {', '.join(sorted(missing))}; call add_stakes first")
    released_by: dict[tuple[str, ...], set[str]] = {}
    rejected: set[tuple[str, ...]] = set()
    for decision in decisions:
        bound = _bound(decision)
        if decision["verdict"] == RELEASE:
            released_by.setdefault(bound, set()).add(same_person(str(decision["by"])))
        else:
            rejected.add(bound)
    names = [_bound(row) for row in scores[list(_BOUND)].to_dict("records")]
    near = _still_held(decisions, stakes, as_of)
    people = [
        released_by.get(name, set())
        | {
            by
            for verdict, by, score in near.get(name[:2], ())
            if verdict == RELEASE
            and abs(float(name[3]) - score) <= stakes.tolerance_share * abs(score)
        }
        for name in names
    ]
    n_releases = np.array([len(who) for who in people], dtype=int)
    is_rejected = np.array(
        [
            name in rejected or any(verdict == REJECT for verdict, *_ in near.get(name[:2], ()))
            for name in names
        ],
        dtype=bool,
    )
    is_held = (scores["held_because"] != "").to_numpy()
    is_waiting = is_held & ~is_rejected & (n_releases < stakes.n_reviewers)
    is_free = ~is_rejected & ~is_waiting
    queue = scores[is_waiting][list(QUEUE_COLUMNS)].assign(n_releases=n_releases[is_waiting])
    return Split(
        released=scores[is_free].reset_index(drop=True),
        queue=queue.sort_values(
            ["stakes_amount", "customer_id", "target"],
            ascending=[False, True, True],
            na_position="first",
            ignore_index=True,
        ),
        rejected=scores[is_rejected].reset_index(drop=True),
        n_reviewed=int((is_held & is_free).sum()),
    )


def _still_held(
    decisions: Sequence[Mapping[str, Any]], stakes: Stakes, as_of: date | None
) -> dict[tuple[str, ...], list[tuple[str, str, float]]]:
    """By customer and target the decisions of late: verdict, person, score decided on.

    The last word of a person on a customer counts.
    """
    found: dict[tuple[str, ...], dict[str, tuple[str, str, float]]] = {}
    for decision in decisions if as_of is not None else ():
        age = (as_of - date.fromisoformat(str(decision["day"]))).days  # type: ignore[operator]
        if 0 <= age <= stakes.holds_days and stakes.holds_days:
            by = same_person(str(decision["by"]))
            bound = _bound(decision)
            found.setdefault(bound[:2], {})[by] = (str(decision["verdict"]), by, float(bound[3]))
    return {key: list(own.values()) for key, own in found.items()}


def decision_row(
    item: Mapping[str, Any], *, verdict: str, by: str, why: str, day: date
) -> dict[str, str]:
    """One decision, ready to be appended to the market's `reviews`.

    Raises:
        ValueError: The verdict is unknown, or nobody or no reason is named.
    """
    if faults := _faults_of(verdict, by, why):
        raise ValueError(f"{item['customer_id']}, {item['target']}: {'; '.join(faults)}")
    row = dict(zip(_BOUND, _bound(item), strict=True))
    return row | {"verdict": verdict, "by": by.strip(), "why": why.strip(), "day": day.isoformat()}


def write_queue_csv(queue: pd.DataFrame, path: Path) -> None:
    """Write the queue with empty columns for verdict, by and why.

    Cells that a spreadsheet would take for a formula get an apostrophe in front.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*QUEUE_COLUMNS, *_DECISION_COLUMNS])
        for row in queue.to_dict("records"):
            cells = [*_bound(row), f"{row['stakes_amount']:.2f}", str(row["held_because"])]
            writer.writerow([*map(_harmless, cells), "", "", ""])


def write_sheet(frame: pd.DataFrame, path: Path) -> None:
    """Write a table for a spreadsheet; no cell of it can be taken for a formula."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(list(frame.columns))
        for row in frame.itertuples(index=False):
            writer.writerow([_harmless(str(cell)) for cell in row])


def read_decisions_csv(
    path: Path, queue: pd.DataFrame, *, day: date, roles: Collection[str] | None = None
) -> list[dict[str, str]]:
    """The decisions of a filled-in queue; lines without a verdict are left open.

    Spreadsheets save as they are used to: with commas, semicolons or tabs, in UTF-8, UTF-16 or
    the code page of Western Windows, and with a comma in numbers. All of these are read.

    Args:
        queue: The queue as it stands now; a decision on anything else is a fault.
        roles: Who may decide, as `by`; anybody if not given.

    Raises:
        DecisionFaults: Everything that is wrong with the file.
    """
    header, lines = _read_sheet(path)
    wanted = (*_BOUND, *_DECISION_COLUMNS)
    faults = [f"column {name!r}: missing" for name in wanted if name not in header]
    if faults:
        raise DecisionFaults(path, faults)
    waiting = {_bound(row)[:2]: _bound(row) for row in queue.to_dict("records")}
    seen: dict[tuple[str, ...], int] = {}
    found = []
    for number, line in enumerate(lines, start=2):
        row = {name: _plain(line.get(name) or "").strip() for name in wanted}
        if re.fullmatch(r"-?\d+,\d+", row["score"]):
            row["score"] = row["score"].replace(",", ".")
        row["verdict"] = row["verdict"].lower()
        if not any(row[name] for name in _DECISION_COLUMNS):
            continue
        who = (row["customer_id"], row["target"])
        own = _faults_of(row["verdict"], row["by"], row["why"])
        if roles is not None and row["by"] and same_person(row["by"]) not in roles:
            own.append(f"by {row['by']!r}: no role of the register of owners")
        if who not in waiting:
            own.append("not in the queue")
        elif _bound_or_none(row) != waiting[who]:
            expected = " ".join(waiting[who][2:])
            own.append(f"the queue now holds {expected}; write the queue again and decide on that")
        if who in seen:
            own.append(f"decided in line {seen[who]} already")
        seen.setdefault(who, number)
        faults += [f"line {number}, {who[0]} {who[1]}: {fault}" for fault in own]
        if not own:
            found.append(
                decision_row(row, verdict=row["verdict"], by=row["by"], why=row["why"], day=day)
            )
    if faults:
        raise DecisionFaults(path, faults)
    return found


_ENCODINGS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def _read_sheet(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and lines of a sheet, whatever spreadsheet has saved it.

    Raises:
        DecisionFaults: It is no text.
    """
    raw = path.read_bytes()
    encoding = next((name for mark, name in _ENCODINGS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    if "\x00" in text:
        raise DecisionFaults(path, ["this is no text; save the sheet as CSV"])
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    header = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    return header, list(reader)


def review_form(
    queue: pd.DataFrame,
    on_decide: Callable[[dict[str, str]], None],
    *,
    by: str,
    day: date,
    most: int = _MOST_SHOWN,
) -> Any:
    """A form with the scores of most at stake; a button hands the decision to `on_decide`.

    Args:
        on_decide: Takes one decision, e.g. appends it to the market's `reviews`.
        by: Role that decides.
    """
    import ipywidgets as widgets  # type: ignore[import-untyped]

    rows = []
    for item in queue.head(most).to_dict("records"):
        why = widgets.Text(placeholder="why")
        answer = widgets.Label()
        buttons = [widgets.Button(description=verdict.capitalize()) for verdict in VERDICTS]

        def decide(
            pressed: Any, item: Any = item, why: Any = why, answer: Any = answer,
            buttons: Any = buttons,
        ) -> None:  # fmt: skip
            verdict = pressed.description.lower()
            try:
                on_decide(decision_row(item, verdict=verdict, by=by, why=why.value, day=day))
            except ValueError as error:
                answer.value = str(error)
                return
            answer.value = f"{verdict} recorded"
            for button in buttons:
                button.disabled = True

        for button in buttons:
            button.on_click(decide)
        text = f"{item['customer_id']} · {item['target']} · {score_text(item['score'])}"
        label = widgets.Label(f"{text} · {item['held_because']}")
        rows.append(widgets.VBox([label, widgets.HBox([why, *buttons, answer])]))
    return widgets.VBox(rows)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How often two judges say the same, and how much more often than by chance.

    Attributes:
        agreed: Share on which both say the same.
        kappa: Cohen's kappa (1960): 1 always, 0 as often as chance would.
    """

    agreed: Estimate
    kappa: Estimate


def estimate_agreement(
    first: Sequence[str], second: Sequence[str], *, as_of: date, level: float = 0.95
) -> Agreement:
    """Agreement of two judges on the same items.

    Interval of kappa by its large-sample variance (Fleiss, Cohen and Everitt, 1969).

    Raises:
        TooFew: No item, or a judge only ever says one thing: then agreement beyond chance
            is nothing by construction, whatever the other says.
    """
    kinds = sorted({*first, *second})
    n = len(first)
    if n == 0:
        raise TooFew("nobody has decided on a score of this page yet")
    for judge, who in ((first, "people"), (second, "the model")):
        if len(set(judge)) < 2:
            raise TooFew(f"{who} said {judge[0]} on all {n} scores, so nothing can be compared")
    table = np.zeros((len(kinds), len(kinds)))
    for a, b in zip(first, second, strict=True):
        table[kinds.index(a), kinds.index(b)] += 1
    p = table / n
    row, column = p.sum(axis=1), p.sum(axis=0)
    observed, chance = float(np.trace(p)), float(row @ column)
    kappa = (observed - chance) / (1 - chance)
    # Fleiss, Cohen and Everitt (1969), equation 13.
    marginal = column[:, None] + row[None, :]
    on = float((np.diag(p) * np.square(1 - (row + column) * (1 - kappa))).sum())
    off = float(((p - np.diag(np.diag(p))) * np.square(marginal)).sum()) * (1 - kappa) ** 2
    variance = (on + off - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    half = float(stats.norm.ppf(0.5 + level / 2)) * math.sqrt(max(variance, 0.0))
    return Agreement(
        agreed=estimate_share(round(observed * n), n, as_of=as_of, level=level),
        kappa=Estimate(
            value=kappa,
            lower=max(-1.0, kappa - half),
            upper=min(1.0, kappa + half),
            unit="index",
            n=n,
            as_of=as_of,
            level=level,
            method="Cohen's kappa (1960), large-sample interval (Fleiss, Cohen, Everitt, 1969)",
        ),
    )


def judged_pairs(
    decisions: Sequence[Mapping[str, Any]], log: pd.DataFrame
) -> tuple[list[str], list[str]]:
    """What people said and what the model says, over the scores that people decided on.

    The model says release where it scores a customer above the mean of the target. Each
    score counts once, with the last decision on it; decisions on older scores are left out.

    Args:
        log: Score log: customer_id, target, version, score.
    """
    said = {_bound(decision): str(decision["verdict"]) for decision in decisions}
    means = log.groupby("target")["score"].transform("mean")
    people, model = [], []
    rows = log[list(_BOUND)].to_dict("records")
    for row, mean in zip(rows, means.to_numpy(dtype=float), strict=True):
        verdict = said.get(_bound(row))
        if verdict is not None:
            people.append(verdict)
            model.append(RELEASE if float(row["score"]) > mean else REJECT)
    return people, model


def _bound(row: Mapping[Any, Any]) -> tuple[str, str, str, str]:
    """What a decision is bound to."""
    return (
        str(row["customer_id"]),
        str(row["target"]),
        str(row["version"]),
        score_text(float(row["score"])),
    )


def _bound_or_none(row: Mapping[str, str]) -> tuple[str, ...] | None:
    try:
        return _bound(row)
    except ValueError:
        return None


def _faults_of(verdict: str, by: str, why: str) -> list[str]:
    faults = []
    if verdict not in VERDICTS:
        faults.append(f"verdict {verdict!r}: write {' or '.join(VERDICTS)}")
    if not by.strip():
        faults.append("by: say who decides")
    if not why.strip():
        faults.append("why: give a reason in a few words")
    return faults


def _harmless(cell: str) -> str:
    is_number = re.fullmatch(r"-?[0-9.]+", cell)
    return f"'{cell}" if _FORMULA.match(cell) and not is_number else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:2]) else cell
