"""The only door: what comes through depends on root, snapshot, day, consent, licence, role."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insight_lib.lake.decisions import append_decisions
from insight_lib.lake.ingest import ingest_market
from insight_lib.lake.store import LakeError
from insight_lib.market import Market, Refused, Unavailable, open_market
from tests.conftest import HEADER, TRANSACTIONS_YAML, ProjectFolder

CONSENTS_YAML = """\
  consents:
    location: raw/consents.csv
    format: csv
    licence: own-data
    columns:
      customer_id: customer
      purpose: purpose
      decision: decision
      decided_at: {from: at, format: "%Y-%m-%d %H:%M"}
"""


def lines(*customers: str) -> str:
    return HEADER + "".join(
        f"o{i},1,{c},2024-05-0{i + 1} 10:00,p1,1,10\n" for i, c in enumerate(customers)
    )


def prepare(
    folder: ProjectFolder,
    transactions: str,
    consents: str | None = None,
    jurisdiction: str = "ccpa",
) -> None:
    sources = TRANSACTIONS_YAML + (CONSENTS_YAML if consents is not None else "")
    folder.market(sources=sources, jurisdiction=jurisdiction)
    folder.write("raw/transactions.csv", transactions)
    if consents is not None:
        folder.write("raw/consents.csv", "customer,purpose,decision,at\n" + consents)
    project = folder.load()
    results = ingest_market(project.lake_dir, project.markets["de-test"], project.root)
    assert not [r.fault for r in results if r.fault]


def open_test(folder: ProjectFolder, **options: object) -> Market:
    return open_market("de-test", stage="features", root=folder.root, **options)  # type: ignore[arg-type]


def customers(market: Market) -> list[str]:
    return sorted(market.table("transactions").customer_id.to_pandas().dropna())


def test_nothing_after_as_of_on_the_markets_clock(folder: ProjectFolder) -> None:
    late = HEADER + "o1,1,a,2024-05-01 23:59,p,1,1\no2,1,b,2024-05-02 00:00,p,1,1\n"
    prepare(folder, late)
    assert customers(open_test(folder, as_of="2024-05-01")) == ["a"]
    assert customers(open_test(folder, as_of="2024-05-02")) == ["a", "b"]
    assert open_test(folder).as_of.isoformat() == "2024-12-31"
    with pytest.raises(LakeError, match="choose an earlier day"):
        open_test(folder, as_of="2025-01-01")


def test_opt_in_needs_a_grant_and_opt_out_needs_no_refusal(folder: ProjectFolder) -> None:
    consents = (
        "yes,analytics,granted,2024-01-01 00:00\n"
        "no,analytics,refused,2024-01-01 00:00\n"
        "back,analytics,granted,2024-01-01 00:00\n"
        "back,analytics,refused,2024-02-01 00:00\n"
        "other,modelling,granted,2024-01-01 00:00\n"
        "later,analytics,granted,2024-09-01 00:00\n"
        "both,analytics,granted,2024-03-01 00:00\n"
    )
    everyone = lines("yes", "no", "back", "other", "later", "both", "silent", "")
    prepare(folder, everyone, consents, "gdpr")
    assert customers(open_test(folder, as_of="2024-06-30")) == ["both", "yes"]
    assert customers(open_test(folder)) == ["both", "later", "yes"]
    prepare(folder, everyone, consents, "ccpa")
    assert customers(open_test(folder)) == ["both", "later", "other", "silent", "yes"]


def test_opt_in_without_consents_is_refused(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"), None, "gdpr")
    with pytest.raises(Refused, match="no consents table"):
        open_test(folder).table("transactions")


decisions = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.sampled_from(["analytics", "modelling"]),
        st.sampled_from(["granted", "refused"]),
        st.integers(0, 300),
    ),
    max_size=25,
    unique=True,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=decisions, as_of_day=st.integers(0, 300), law=st.sampled_from(["gdpr", "ccpa"]))
def test_no_row_without_the_needed_consent(
    history: list[tuple[str, str, str, int]],
    as_of_day: int,
    law: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    start = datetime(2024, 1, 1, 12, tzinfo=UTC)
    day = (start + timedelta(days=as_of_day)).date()
    folder = ProjectFolder(tmp_path_factory.mktemp("consent"))
    rows = "".join(
        f"{c},{p},{d},{start + timedelta(days=n):%Y-%m-%d %H:%M}\n" for c, p, d, n in history
    )
    orders = HEADER + "".join(f"o{c},1,{c},2024-01-01 08:00,p,1,1\n" for c in "abcde")
    prepare(folder, orders, rows, law)
    then, now = dict.fromkeys("abcde", "silent"), dict.fromkeys("abcde", "silent")
    for customer, purpose, decision, n in sorted(history, key=lambda d: (d[3], d[2])):
        if purpose == "analytics":
            now[customer] = decision
            if n <= as_of_day:
                then[customer] = decision
    good = {"granted", "silent"} if law == "ccpa" else {"granted"}
    # As things stood that day, and as nobody has refused since.
    wanted = [c for c in "abcde" if then[c] in good and now[c] != "refused"]
    assert customers(open_test(folder, as_of=day)) == wanted


def test_rows_about_nobody_need_no_consent_and_are_counted_apart(folder: ProjectFolder) -> None:
    prepare(folder, lines("yes", "no", ""), "yes,analytics,granted,2024-01-01 00:00\n", "gdpr")
    market = open_test(folder)
    ids = market.table("transactions").customer_id.to_pandas()
    assert sorted(ids.fillna("nobody")) == ["nobody", "yes"]
    assert market.coverage("transactions") == (1, 2)


CONTRACTS_YAML = """\
  contracts:
    location: raw/contracts.csv
    format: csv
    licence: own-data
    columns:
      contract_id: id
      customer_id: customer
      start_date: start
      term_end_date: term
      end_date: end
      end_reason: reason
      monthly_amount: monthly
      currency: {constant: EUR}
"""


def test_an_earlier_day_does_not_know_how_it_ended(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML + CONTRACTS_YAML)
    folder.write("raw/transactions.csv", lines("a"))
    folder.write(
        "raw/contracts.csv",
        "id,customer,start,term,end,reason,monthly\n"
        "k1,a,2024-01-01,2024-12-31,2024-06-30,voluntary,10\n"
        "k2,b,2024-08-01,2025-07-31,,,10\n",
    )
    project = folder.load()
    ingest_market(project.lake_dir, project.markets["de-test"], project.root)
    for day, n, end, reason in [
        ("2024-06-29", 1, None, None),
        ("2024-06-30", 1, "2024-06-30", "voluntary"),
        ("2024-12-31", 2, "2024-06-30", "voluntary"),
    ]:
        rows = open_test(folder, as_of=day).table("contracts").to_pyarrow().to_pylist()
        assert len(rows) == n
        first = next(row for row in rows if row["contract_id"] == "k1")
        assert (str(first["end_date"]) if first["end_date"] else None) == end
        assert first["end_reason"] == reason


@pytest.mark.case("113", "119i")
def test_a_value_whose_day_is_missing_is_known_from_the_rows_own_day(
    folder: ProjectFolder,
) -> None:
    folder.market(sources=TRANSACTIONS_YAML + CONTRACTS_YAML)
    folder.write("raw/transactions.csv", lines("a"))
    folder.write(
        "raw/contracts.csv",
        "id,customer,start,term,end,reason,monthly\n"
        "k1,a,2024-01-01,2024-12-31,,payment,10\n"
        "k2,b,2024-08-01,2025-07-31,,,10\n",
    )
    project = folder.load()
    ingest_market(project.lake_dir, project.markets["de-test"], project.root)
    rows = open_test(folder, as_of="2024-12-31").table("contracts").to_pandas()
    reasons = rows.set_index("contract_id")["end_reason"].fillna("")
    assert reasons.to_dict() == {"k1": "payment", "k2": ""}


def test_a_run_for_an_earlier_day_does_not_become_what_others_read(folder: ProjectFolder) -> None:
    prepare(folder, lines("a", "b"))
    for value, options in [
        (1, {}),
        (2, {"as_of": "2024-03-01"}),
        (3, {"overrides": {"features.rfm_groups": 4}}),
    ]:
        frame = pd.DataFrame({"customer_id": ["a"], "x": [value]})
        open_test(folder, **options).publish_table("customer_features", frame)  # type: ignore[arg-type]
    assert open_test(folder).table("customer_features").to_pandas()["x"].tolist() == [1]
    early = open_test(folder, as_of="2024-03-01").table("customer_features")
    assert early.to_pandas()["x"].tolist() == [2]


def test_a_licence_goes_with_what_is_made_from_it(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    market = open_test(folder)
    market.table("transactions")
    market.publish_table("customer_features", pd.DataFrame({"customer_id": ["a"], "x": [1]}))
    licences = folder.root / "parameters/registers/licences.yaml"
    licences.write_text(licences.read_text().replace("[analytics, modelling,", "[modelling,"))
    with pytest.raises(Refused, match="our own data"):
        open_test(folder).table("customer_features")


def test_what_is_published_keeps_its_tags_and_its_customers(folder: ProjectFolder) -> None:
    prepare(folder, lines("a", "b"))
    market = open_test(folder)
    frame = pd.DataFrame({"customer_id": ["a"], "attribute_value": ["x"], "n": [1]})
    market.publish_table("customer_features", frame)
    assert "attribute_value" not in open_test(folder).table("customer_features").columns
    with pytest.raises(Refused, match="without customer_id"):
        market.publish_table("customer_features", pd.DataFrame({"email": ["a@example.org"]}))


def test_a_segment_reads_what_the_same_segment_published(folder: ProjectFolder) -> None:
    import pyarrow as pa

    from insight_lib.lake.store import write_table

    prepare(folder, lines("a", "b"))
    table = pa.table({"customer_id": ["a", "b"], "segment": ["gold", "plain"]})
    write_table(folder.root / "data/eu/de-test/segments", table, {})
    lifecycle = folder.root / "parameters/lifecycle.yaml"
    text = lifecycle.read_text()
    lifecycle.write_text(
        text + "  - {id: groups, number: 4, title: Groups, question: Who are they?, "
        "notebook: notebooks/04_groups.ipynb, purpose: analytics, publishes: [segments]}\n"
        if "publishes: [segments]" not in text and "may_publish: [segments]" not in text
        else text
    )
    for segment, value in [(None, 1), ("gold", 2)]:
        frame = pd.DataFrame({"customer_id": ["a", "b"], "x": value})
        open_test(folder, segment=segment).publish_table("customer_features", frame)
    whole = open_test(folder).table("customer_features").to_pandas()
    gold = open_test(folder, segment="gold").table("customer_features").to_pandas()
    assert whole["x"].tolist() == [1, 1]
    assert (gold["customer_id"].tolist(), gold["x"].tolist()) == (["a"], [2])


def test_licence_refuses_the_use_and_names_the_clause(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    licences = folder.root / "parameters/registers/licences.yaml"
    good = licences.read_text()
    for old, new, part in [
        ("[analytics, modelling, activation]", "[modelling]", "our own data"),
        ("[all]", "[US]", "does not cover DE"),
        ("territories", "expires: 2024-06-30\n  territories", "expired on 2024-06-30"),
    ]:
        licences.write_text(good.replace(old, new))
        with pytest.raises(Refused, match=part):
            open_test(folder).table("transactions")
    licences.write_text(good)
    assert customers(open_test(folder)) == ["a"]


def test_a_role_sees_its_markets_purposes_and_columns(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    roles = folder.root / "parameters/registers/roles.yaml"
    roles.write_text(
        "analyst: {markets: [all], purposes: [analytics]}\n"
        "blind: {markets: [all], purposes: [analytics], hidden_tags: [identifier]}\n"
        "narrow: {markets: [de-test], purposes: [analytics], "
        "hidden_columns: {transactions: [amount]}}\n"
        "modeller: {markets: [all], purposes: [modelling]}\n"
        "gone: {markets: [all], purposes: [analytics], expires: 2024-06-30}\n"
    )
    assert "amount" in open_test(folder).table("transactions").columns
    blind = open_test(folder, role="blind").table("transactions").columns
    assert not {"order_id", "customer_id", "line_id", "product_id"} & set(blind)
    assert "amount" not in open_test(folder, role="narrow").table("transactions").columns
    for role, part in [
        ("modeller", "may not work for analytics"),
        ("gone", "expired"),
        ("nobody", "not in"),
    ]:
        with pytest.raises(Refused, match=part):
            open_test(folder, role=role).table("transactions")
    assert open_test(folder, role="gone", as_of="2024-06-30").table("transactions").columns


def test_a_removed_column_cannot_be_read(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    path = folder.root / "parameters/markets/de-test.yaml"
    path.write_text("removed_columns: {transactions: [store_id, quantity]}\n" + path.read_text())
    assert "quantity" not in open_test(folder).table("transactions").columns


def test_the_engine_reads_nothing_outside_the_market(
    folder: ProjectFolder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prepare(folder, lines("a"))
    market = open_test(folder)
    market.table("transactions")
    other = tmp_path_factory.mktemp("other") / "x.csv"
    other.write_text("a\n1\n")
    link = market.root / "link.csv"
    link.symlink_to(other)
    connection = market._door.engine
    for path in (other, market.root / ".." / ".." / "us" / "x.csv", link):
        with pytest.raises(Exception, match="(?i)permission|disabled"):
            connection.raw_sql(f"SELECT * FROM read_csv('{path}')")
    for statement in ("SET enable_external_access=true", "SET allowed_directories=['/']"):
        with pytest.raises(Exception, match="(?i)lock|cannot"):
            connection.raw_sql(statement)


def test_a_snapshot_stays_as_it_was(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    pinned = open_test(folder)
    prepare(folder, lines("a", "b"))
    assert customers(pinned) == ["a"]
    assert customers(open_test(folder)) == ["a", "b"]


def test_what_is_published_is_read_by_its_name(folder: ProjectFolder) -> None:
    prepare(folder, lines("a", "b"))
    market = open_test(folder)
    frame = pd.DataFrame({"customer_id": ["a"], "x": [1]})
    version = market.publish_table("customer_features", frame)
    assert version == 0
    assert open_test(folder).table("customer_features").to_pandas()["x"].tolist() == [1]
    with pytest.raises(Refused, match="does not publish"):
        market.publish_table("segments", pd.DataFrame({"x": [1]}))
    with pytest.raises(Unavailable, match="declare a source"):
        market.table("surveys")
    with pytest.raises(Unavailable, match="run the stage"):
        market.table("segments")


def test_a_segment_narrows_every_table_with_customers(folder: ProjectFolder) -> None:
    from insight_lib.lake.store import write_table

    prepare(folder, lines("a", "b", "c"))
    import pyarrow as pa

    table = pa.table({"customer_id": ["a", "b"], "segment": ["gold", "plain"]})
    write_table(folder.root / "data/eu/de-test/segments", table, {})
    lifecycle = folder.root / "parameters/lifecycle.yaml"
    text = lifecycle.read_text().replace("[customer_features]", "[customer_features, segments]")
    lifecycle.write_text(text)
    gold = open_test(folder, segment="gold")
    assert customers(gold) == ["a"]
    assert gold.coverage("transactions") == (1, 1)


def test_a_run_opens_only_what_it_was_asked_for(
    folder: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(folder, lines("a"))
    request = {
        "run_id": "r",
        "market": "de-test",
        "stage": "features",
        "segment": None,
        "as_of": "2024-05-01",
        "overrides": {},
        "versions": {"transactions": 0},
        "role": "analyst",
        "nonce": "n",
    }
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "request.json"
    path.write_text(json.dumps(request))
    monkeypatch.setenv("INSIGHT_RUN", str(path))
    market = open_test(folder)
    assert market.as_of.isoformat() == "2024-05-01"
    assert customers(market) == ["a"]
    used = json.loads((path.parent / "used.json").read_text())
    assert used["tables"]["transactions"]["version"] == 0
    assert used["parameters"]["features"]["rfm_groups"] == 5
    folder.market("de-other")
    with pytest.raises(Refused, match="may not open"):
        open_market("de-other", stage="features", root=folder.root)


def test_unknown_names_come_with_help(folder: ProjectFolder, write_lines: Callable) -> None:
    with pytest.raises(LakeError, match="insight ingest"):
        open_test(folder)
    with pytest.raises(LookupError, match="lifecycle.yaml has"):
        open_market("de-test", stage="featurs", root=folder.root)


def test_only_aggregates_cross_borders(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    lifecycle = folder.root / "parameters/lifecycle.yaml"
    lifecycle.write_text(
        lifecycle.read_text().replace(
            "    publishes: [customer_features]",
            "    publishes: [customer_features]\n    publishes_aggregates: [extra_rates]",
            1,
        )
        + "  - {id: borrow, number: 3, title: Borrow, question: What do others know?, "
        "notebook: notebooks/03_borrow.ipynb, purpose: analytics, "
        "reads_aggregates: [extra_rates]}\n"
    )
    market = open_test(folder)
    rates = pd.DataFrame({"group": ["all", "few"], "rate": [0.5, 0.9], "n": [200, 4]})
    market.publish_aggregate("extra_rates", rates)
    for frame, part in [
        (rates.drop(columns="n"), "no column n"),
        (rates.assign(customer_id="a"), "holds customer_id"),
        (rates.assign(age_band="18"), "holds age_band"),
        (pd.DataFrame({"n": [50] * 2000}), "not an aggregate"),
    ]:
        with pytest.raises(Refused, match=part):
            market.publish_aggregate("extra_rates", frame)
    with pytest.raises(Refused, match="does not give"):
        market.publish_aggregate("rows", rates)
    with pytest.raises(Refused, match="does not read"):
        market.aggregates("extra_rates")
    own = open_market("de-test", stage="borrow", root=folder.root)
    assert own.aggregates("extra_rates").empty  # its own do not come back to it
    (folder.root / "raw/transactions.csv").write_text(lines("z"))
    folder.market("fr-test")
    project = folder.load()
    ingest_market(project.lake_dir, project.markets["fr-test"], project.root)
    other = open_market("fr-test", stage="borrow", root=folder.root).aggregates("extra_rates")
    assert other.to_dict("records") == [
        {"market": "de-test", "as_of": "2024-12-31", "group": "all", "rate": 0.5, "n": 200}
    ]


def with_own_table(folder: ProjectFolder) -> None:
    """The first stage keeps a folder, and a table that no other stage may read."""
    path = folder.root / "parameters" / "lifecycle.yaml"
    text = path.read_text()
    known = "publishes: [customer_features]"
    assert known in text
    new = "publishes: [customer_features, held_scores]\n    own_tables: [held_scores]"
    declared = "\n    keeps: [models]\n    reads_decisions: [models, reviews]"
    path.write_text(text.replace(known, new + declared, 1))


def test_scores_not_yet_released_are_read_by_their_stage_alone(folder: ProjectFolder) -> None:
    prepare(folder, lines("a", "b"))
    with_own_table(folder)
    frame = pd.DataFrame({"customer_id": ["a"], "score": [0.9]})
    open_test(folder).publish_table("held_scores", frame)
    assert open_test(folder).table("held_scores").count().execute() == 1
    other = open_market("de-test", stage="value", root=folder.root)
    with pytest.raises(Refused, match="released"):
        other.table("held_scores")


def test_a_further_purpose_needs_its_own_consent_and_licence(folder: ProjectFolder) -> None:
    both = "".join(f"{c},analytics,granted,2024-01-01 00:00\n" for c in "ab")
    both += "a,activation,granted,2024-01-01 00:00\n"
    prepare(folder, lines("a", "b"), both, "gdpr")
    market = open_test(folder)
    table = market.table("transactions")
    assert sorted(table.customer_id.to_pandas()) == ["a", "b"]
    licence = folder.root / "parameters" / "registers" / "licences.yaml"
    text = licence.read_text()
    assert "activation" in text
    assert list(market.consenting(table, "activation").customer_id.to_pandas()) == ["a"]
    licence.write_text(text.replace(", activation", "", 1))
    market = open_test(folder)
    table = market.table("transactions")
    with pytest.raises(Refused, match="does not grant activation"):
        market.consenting(table, "activation")


def test_what_a_stage_keeps_stays_in_the_market(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    with pytest.raises(Refused, match="does not keep 'models'"):
        open_test(folder).kept("models")
    with_own_table(folder)
    kept = open_test(folder).kept("models")
    assert kept.parent == open_test(folder).root
    assert kept.stat().st_mode & 0o077 == 0


def test_decisions_count_from_their_day(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    with pytest.raises(Refused, match="reads_decisions"):
        open_test(folder).decisions("models")
    with pytest.raises(Refused, match="reads_decisions"):
        open_test(folder).add_decision("models", {})
    with_own_table(folder)
    root = open_test(folder).root
    rows = [{"day": "2024-05-01", "action": "promote"}, {"day": "2024-06-01", "action": "back"}]
    append_decisions(root, "models", rows)
    assert open_test(folder, as_of="2024-05-31").decisions("models") == rows[:1]
    assert open_test(folder).decisions("models") == rows
    assert open_test(folder).decisions("reviews") == []
    open_test(folder).add_decision("reviews", {"day": "2024-05-01", "verdict": "release"})
    assert [row["verdict"] for row in open_test(folder).decisions("reviews")] == ["release"]


def test_a_segment_of_a_market_with_consents_opens(folder: ProjectFolder) -> None:
    import pyarrow as pa

    from insight_lib.lake.store import write_table

    both = "".join(f"{c},analytics,granted,2024-01-01 00:00\n" for c in "ab")
    prepare(folder, lines("a", "b", "c"), both, "gdpr")
    table = pa.table({"customer_id": ["a", "c"], "segment": ["s1", "s1"]})
    write_table(folder.root / "data/eu/de-test/segments", table, {})
    assert customers(open_test(folder, segment="s1")) == ["a"]


def test_a_list_to_contact_loses_whoever_withdraws(folder: ProjectFolder) -> None:
    """Whoever reads it, and for whatever purpose: the list is made for activation."""
    said = "".join(
        f"{c},{purpose},granted,2024-01-01 00:00\n"
        for c in "ab"
        for purpose in ("analytics", "modelling", "activation")
    )
    prepare(folder, lines("a", "b"), said, "gdpr")
    market = open_market("de-test", stage="decisions", root=folder.root)
    market.table("transactions")
    frame = pd.DataFrame({"customer_id": ["a", "b"], "channel": ["call", "call"]})
    for name in ("contacts", "scores"):
        market.publish_table(name, frame)
    prepare(folder, lines("a", "b"), said + "b,activation,refused,2024-06-01 00:00\n", "gdpr")
    for stage in ("impact", "decisions"):
        reader = open_market("de-test", stage=stage, root=folder.root)
        assert list(reader.table("contacts").customer_id.to_pandas()) == ["a"]
        assert sorted(reader.table("scores").customer_id.to_pandas()) == ["a", "b"]


@pytest.mark.case("119e")
def test_others_read_what_was_known_by_their_day_and_no_trial(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    reader = open_market("de-test", stage="transfer", root=folder.root)
    other = folder.root / "data" / "_aggregates" / "repeat_rates" / "aa-other"
    other.mkdir(parents=True)
    for day, rate in (("2024-03-01", 0.1), ("2024-06-01", 0.2)):
        rows = [{"group": "all", "n": 50, "rate": rate}]
        content = {"market": "aa-other", "as_of": day, "rows": rows}
        (other / f"{day}.json").write_text(json.dumps(content))
    # What a market left behind that is no longer declared is nobody's.
    assert reader.aggregates("repeat_rates").empty
    folder.market("aa-other")
    assert reader.aggregates("repeat_rates")["rate"].tolist() == [0.2]
    early = open_market("de-test", stage="transfer", root=folder.root, as_of="2024-04-01")
    assert early.aggregates("repeat_rates")["rate"].tolist() == [0.1]
    trial = open_market(
        "de-test", stage="value", root=folder.root, overrides={"value.holdout_days": 56}
    )
    trial.publish_aggregate("repeat_rates", pd.DataFrame({"group": ["all"], "n": [50]}))
    assert not (other.parent / "de-test").exists()
