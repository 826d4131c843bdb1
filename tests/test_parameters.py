import tomllib
from pathlib import Path

import pytest

from insight_lib.parameter_model import Parameters
from insight_lib.parameters import (
    ParameterFaults,
    append_to_register,
    find_root,
)
from insight_lib.strict_yaml import load
from tests.conftest import ROOT, TRANSACTIONS_YAML, ProjectFolder


def market_fault(folder: ProjectFolder, market: str = "de-test") -> str:
    project = folder.load()
    assert market not in project.markets
    return "\n".join(str(fault) for fault in project.faults[market])


def edited(folder: ProjectFolder, old: str, new: str, name: str = "markets/de-test.yaml") -> None:
    path = folder.root / "parameters" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_layers_override_each_other(folder: ProjectFolder) -> None:
    assert folder.load().resolve("de-test").features.repeat_window_days == 90
    edited(
        folder,
        "title:",
        "parameters: {features: {repeat_window_days: 80}}\ntitle:",
        "jurisdictions/ccpa.yaml",
    )
    assert folder.load().resolve("de-test").features.repeat_window_days == 80
    edited(folder, "title:", "parameters: {features: {repeat_window_days: 70}}\ntitle:")
    project = folder.load()
    assert project.resolve("de-test").features.repeat_window_days == 70
    override = {"features.repeat_window_days": 60}
    assert project.resolve("de-test", override).features.repeat_window_days == 60
    assert project.digest("de-test") != project.digest("de-test", override)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("currency: EUR\np", "currency: EUX\np", ["currency", "'EUX'", "ISO 4217"]),
        ("country: DE", "country: NO\nlanguag: x", ["languag", "did you mean language?"]),
        ("zone: Europe/Berlin", "zone: Berlin", ["zone", "IANA"]),
        ("region: eu\n", "", ["region", "add 'region:'"]),
        ("country: DE", "country: 49", ["country", "49", "valid string"]),
        ("ccpa", "cppa", ["jurisdiction", "did you mean ccpa?"]),
        ("licence: own-data", "licence: own-dat", ["licence", "did you mean own-data?"]),
        ("2024-12-31}", "2024-02-30}", ["last_day", "'2024-02-30'"]),
        ("2024-12-31}", "2023-12-31}", ["last_day 2023-12-31 is before"]),
        ("amount: paid", "amont: paid", ["no column amont"]),
        ("      amount: paid\n", "", ["amount is not mapped"]),
        ("transactions:", "transaction:", ["no such canonical table"]),
        ("raw/transactions.csv", "../other/transactions.csv", ["without '..'"]),
        ("raw/transactions.csv", "raw/%2e%2e/x.csv", ["without '..'"]),
        ("{constant: EUR}", "{constant: EUR, from: x}", ["exactly one of"]),
        ("kind: real", "kind: simulated", ["simulation: block"]),
        (
            "kind: real",
            "parameters: {features: {rfm_groups: 99}}\nkind: real",
            ["rfm_groups", "99"],
        ),
        (
            "kind: real",
            "parameters: {features: {rfm_group: 4}}\nkind: real",
            ["rfm_group", "did you mean rfm_groups?"],
        ),
    ],
)
def test_a_fault_names_file_line_field_value_and_fix(
    folder: ProjectFolder, old: str, new: str, parts: list[str]
) -> None:
    edited(folder, old, new)
    fault = market_fault(folder)
    assert fault.startswith("parameters/markets/de-test.yaml:")
    for part in [*parts, "fix:"]:
        assert part in fault


def test_all_faults_at_once_and_other_markets_go_on(folder: ProjectFolder) -> None:
    folder.market("fr-good")
    edited(folder, "country: DE", "country: 1\ncolour: red")
    edited(folder, "zone: Europe/Berlin", "zone: Berlin")
    project = folder.load()
    assert list(project.markets) == ["fr-good"]
    assert len(project.faults["de-test"]) == 3


@pytest.mark.parametrize(
    "name", ["DE-test", "d", "de_test", "de-te st", "de-tést", "dе-test", "x" * 40, "NA", "de-"]
)
def test_market_names_are_plain(folder: ProjectFolder, name: str) -> None:
    folder.market(name)
    assert "rename" in market_fault(folder, name)


@pytest.mark.parametrize("content", ["", "- a\n", "just text\n"])
def test_empty_or_wrong_shape(folder: ProjectFolder, content: str) -> None:
    folder.write("parameters/markets/de-test.yaml", content)
    assert "fix:" in market_fault(folder)


def test_unknown_market_and_parameter_come_with_a_suggestion(folder: ProjectFolder) -> None:
    project = folder.load()
    with pytest.raises(ParameterFaults, match="did you mean de-test"):
        project.market("de-tset")
    with pytest.raises(ParameterFaults, match="did you mean features.rfm_groups"):
        project.resolve("de-test", {"features.rfm_group": 3})
    with pytest.raises(ParameterFaults, match="rfm_groups"):
        project.resolve("de-test", {"features.rfm_groups": "five"})


def test_shared_faults_stop_everything_with_all_of_them(folder: ProjectFolder) -> None:
    folder.write("parameters/defaults.yaml", "features: {rfm_groups: 50}\n")
    folder.write("parameters/registers/overrides.yaml", "- {gate: a.b}\n")
    with pytest.raises(ParameterFaults) as caught:
        folder.load()
    text = str(caught.value)
    assert "rfm_groups" in text
    assert "overrides.yaml" in text
    assert len(caught.value.faults) == 5  # rfm_groups, and four missing keys of the override


def test_registers_name_markets_and_owners_that_exist(folder: ProjectFolder) -> None:
    folder.write(
        "parameters/registers/overrides.yaml",
        "- {gate: a.b, market: de-tset, why: because so, who: crm-lad, until: 2024-12-31}\n",
    )
    with pytest.raises(ParameterFaults) as caught:
        folder.load()
    assert "did you mean de-test?" in str(caught.value)
    assert "did you mean crm-lead?" in str(caught.value)


def test_an_override_is_in_force_until_its_day(folder: ProjectFolder) -> None:
    from datetime import date

    folder.write(
        "parameters/registers/overrides.yaml",
        "- {gate: a.b, market: de-test, why: because so, who: crm-lead, until: 2024-12-31}\n",
    )
    registers = folder.load().registers
    assert "a.b" in registers.overridden("de-test", as_of=date(2024, 12, 31))
    assert not registers.overridden("de-test", as_of=date(2025, 1, 1))
    assert not registers.overridden("fr-test", as_of=date(2024, 12, 31))


def test_shipped_parameters_are_without_fault() -> None:
    from insight_lib.parameters import load_project

    project = load_project(ROOT)
    assert not project.faults
    for market in project.markets:
        project.resolve(market)


def test_every_parameter_is_declared_with_a_default_a_unit_and_a_meaning() -> None:
    for section in Parameters.model_fields.values():
        for name, field in section.annotation.model_fields.items():
            assert not field.is_required(), name
            assert (field.json_schema_extra or {}).get("unit"), name
            assert len(field.description or "") > 20, name


def test_a_team_changes_a_default_for_all_its_markets(folder: ProjectFolder) -> None:
    folder.write("parameters/defaults.yaml", "features: {rfm_groups: 4, recent_window_days: 60}\n")
    features = folder.load().resolve("de-test", {"features.recent_window_days": 30}).features
    assert (features.rfm_groups, features.recent_window_days) == (4, 30)
    assert features.history_days == Parameters().features.history_days
    folder.write("parameters/defaults.yaml", "features: {rfm_group: 4}\nfeature: {rfm_groups: 4}\n")
    with pytest.raises(ParameterFaults) as caught:
        folder.load()
    text = str(caught.value)
    assert "parameters/defaults.yaml:1: features.rfm_group" in text
    assert "did you mean rfm_groups?" in text
    assert "did you mean features?" in text


def test_the_project_is_found_from_below_and_not_from_elsewhere(
    folder: ProjectFolder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    below = folder.root / "notebooks" / "deep"
    below.mkdir(parents=True)
    assert find_root(below) == folder.root.resolve()
    with pytest.raises(FileNotFoundError, match="--root"):
        find_root(tmp_path_factory.mktemp("elsewhere"))


def test_environment_file_and_pyproject_pin_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *(r for extra in extras.values() for r in extra)}
    document = load(ROOT / "environment.yml", "environment.yml")
    assert not document.faults
    pip = next(d["pip"] for d in document.data["dependencies"] if isinstance(d, dict))
    assert {r for r in pip if not r.startswith("--")} == wanted


def test_the_lock_holds_every_requirement_and_no_address() -> None:
    import re

    lock = (ROOT / "requirements.lock").read_text()
    locked = {re.split(r"[=\[; ]", line)[0].lower() for line in lock.splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *(r for e in extras.values() for r in e)]:
        assert re.split(r"[<>=\[~; ]", requirement)[0].lower() in locked
    assert "://" not in lock
    assert "--" not in lock


def test_lake_and_reports_stay_inside_the_project(folder: ProjectFolder) -> None:
    project = folder.load()
    for path in (project.lake_dir, project.reports_dir, project.parameters_dir):
        assert Path(path).is_relative_to(folder.root)
    assert TRANSACTIONS_YAML in (folder.root / "parameters/markets/de-test.yaml").read_text()


CONFIRMED = """\
- market: de-test
  segment: s1
  name: Shoes
  confirmed_by: crm-lead
  confirmed_on: 2025-01-01
  profile: {shoes: 1.5}
"""


def test_a_confirmed_entry_joins_its_register_and_a_bad_one_changes_nothing(
    folder: ProjectFolder,
) -> None:
    path = folder.root / "parameters/registers/segment_names.yaml"
    append_to_register(folder.root, "segment_names", CONFIRMED)
    append_to_register(folder.root, "segment_names", CONFIRMED.replace("Shoes", "Kids"))
    names = folder.load().registers.segment_names
    assert [n.name for n in names] == ["Shoes", "Kids"]
    assert path.read_text().startswith("# Names of segments")
    before = path.read_bytes()
    with pytest.raises(ParameterFaults, match="profile"):
        append_to_register(folder.root, "segment_names", CONFIRMED.replace("1.5", "tall"))
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.glob(".*")) == []
