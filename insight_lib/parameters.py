"""Parameters: layered YAML (defaults, jurisdiction, market, command line) as frozen models.

`load_project` reads everything below `parameters/` at once and reports every fault of
every file; a market with a fault is set aside and never stops another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

import insight_lib.strict_yaml as strict_yaml
from insight_lib.lifecycle_model import Lifecycle, OwnStages, Stage
from insight_lib.market_model import Jurisdiction, MarketConfig, expand
from insight_lib.parameter_model import Parameters
from insight_lib.parameter_names import unknown_names
from insight_lib.registers import REGISTERS, Registers
from insight_lib.strict_yaml import Document, Fault, KeyPath
from insight_lib.today import read_today
from insight_lib.yaml_models import unknown, validate

M = TypeVar("M", bound=BaseModel)
MARKET_ID = re.compile(r"[a-z]{2}-[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_MARKET_ID = 32
_OWN_STAGES = "own_stages.yaml"


class ParameterFaults(Exception):
    """Every fault found, as `file:line: field: got …, expected …; fix: …`."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True)
class Project:
    """A folder with `parameters/`, `notebooks/`, and where its lake and reports are."""

    root: Path
    stages: Mapping[str, Stage]
    markets: Mapping[str, MarketConfig]
    jurisdictions: Mapping[str, Jurisdiction]
    registers: Registers
    faults: Mapping[str, tuple[Fault, ...]]
    defaults: Mapping[str, Mapping[str, Any]]
    today: date

    @property
    def parameters_dir(self) -> Path:
        return self.root / "parameters"

    @property
    def reports_dir(self) -> Path:
        return self.root / "reports"

    @property
    def lake_dir(self) -> Path:
        return self.root / "data"

    @property
    def published(self) -> frozenset[str]:
        """Every table that a stage may publish."""
        stages = self.stages.values()
        return frozenset(t for s in stages for t in (*s.publishes, *s.may_publish))

    def publisher(self, table: str) -> Stage | None:
        """The stage that publishes a table, None where none does."""
        stages = self.stages.values()
        return next((s for s in stages if table in (*s.publishes, *s.may_publish)), None)

    def market(self, market_id: str) -> MarketConfig:
        """The market called `market_id`.

        Raises:
            ParameterFaults: The market's file has faults, or there is no such market.
        """
        if market_id in self.markets:
            return self.markets[market_id]
        if market_id in self.faults:
            raise ParameterFaults(self.faults[market_id])
        raise ParameterFaults([unknown("--market", market_id, [*self.markets, *self.faults])])

    def resolve(self, market_id: str, overrides: Mapping[str, Any] | None = None) -> Parameters:
        """The parameters of one market: defaults, jurisdiction, market, then `overrides`.

        Args:
            overrides: `{"features.repeat_window_days": 60}`, as from the command line.

        Raises:
            ParameterFaults: An override is unknown or out of range, with did-you-mean.
        """
        market = self.market(market_id)
        layers = [self.jurisdictions[market.jurisdiction].parameters, market.parameters]
        merged = {name: dict(section) for name, section in self.defaults.items()}
        for layer in layers:
            for section, entries in layer.items():
                merged[section] |= entries
        faults: list[Fault] = []
        for key, value in (overrides or {}).items():
            section, _, name = key.partition(".")
            if name not in merged.get(section, {}):
                known = [f"{s}.{n}" for s, entries in merged.items() for n in entries]
                faults.append(unknown("--set", key, known))
            else:
                merged[section][name] = value
        if faults:
            raise ParameterFaults(faults)
        parameters = validate(Parameters, Document("--set", merged), merged, faults=faults)
        if parameters is None:
            raise ParameterFaults(faults)
        return parameters

    def digest(self, market_id: str, overrides: Mapping[str, Any] | None = None) -> str:
        """sha256 of all that is configured and that the market's runs depend on."""
        market = self.market(market_id)
        content = {
            "market": market.model_dump(mode="json", exclude={"sources"}),
            # A page made under a licence that has ended since is not up to date.
            "ended_licences": sorted(
                name
                for name in {source.licence for source in market.sources.values()}
                if (day := self.registers.licences[name].expires) and day < self.today
            ),
            "jurisdiction": self.jurisdictions[market.jurisdiction].model_dump(mode="json"),
            "parameters": self.resolve(market_id, overrides).model_dump(mode="json"),
            "registers": self._registers_json,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _registers_json(self) -> Any:
        # Overrides act on gates, when a run is planned; they change no result.
        return self.registers.model_dump(mode="json", exclude={"overrides"})


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` that holds `parameters/lifecycle.yaml`.

    Raises:
        FileNotFoundError: There is none; says where it looked.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "parameters" / "lifecycle.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"no parameters/lifecycle.yaml at or above {here}; run inside a project, or pass --root"
    )


def load_project(root: Path, *, today: date | None = None) -> Project:
    """Read and validate everything below `root/parameters`.

    Args:
        today: Day on which permissions are judged and after which nothing can have happened;
            `read_today()` if not given.

    Raises:
        ParameterFaults: Faults in what all markets share (lifecycle, defaults,
            jurisdictions, registers). Faults of a market's own file are in `faults`.
    """
    today = today or read_today()
    reader = _Reader(root)
    lifecycle = reader.lifecycle()
    defaults = reader.defaults()
    jurisdictions = {
        path.stem: reader.model(f"jurisdictions/{path.name}", Jurisdiction)
        for path in reader.files("jurisdictions")
    }
    registers = reader.registers()
    if reader.faults:
        raise ParameterFaults(reader.faults)
    assert lifecycle
    assert registers
    markets: dict[str, MarketConfig] = {}
    faults: dict[str, tuple[Fault, ...]] = {}
    seen: dict[str, str] = {}
    for path in sorted((root / "parameters/markets").glob("*.yml")):
        name = f"parameters/markets/{path.name}"
        fix = f"rename it to {path.stem}.yaml"
        faults[path.stem] = (
            Fault(name, 1, "(file name)", strict_yaml.shown(path.name), "*.yaml", fix),
        )
    for path in reader.files("markets"):
        market, found = _load_market(path, defaults, jurisdictions, registers, today)
        twin = seen.setdefault(path.stem.casefold(), path.name)
        if twin != path.name:
            found.append(
                Fault(
                    f"parameters/markets/{path.name}",
                    1,
                    "(file name)",
                    strict_yaml.shown(path.stem),
                    f"a name that differs from {twin} by more than case",
                    "rename or remove one of the two",
                )
            )
        if found or market is None:
            faults[path.stem] = tuple(found)
        else:
            markets[path.stem] = market
    _check_registers_name_markets(registers, {*markets, *faults})
    return Project(
        root=root,
        stages=MappingProxyType({stage.id: stage for stage in lifecycle.stages}),
        markets=MappingProxyType(markets),
        jurisdictions=MappingProxyType({k: v for k, v in jurisdictions.items() if v}),
        registers=registers,
        faults=MappingProxyType(faults),
        defaults=MappingProxyType(defaults),
        today=today,
    )


def append_to_register(root: Path, register: str, entry: str) -> None:
    """Add one entry to a list register; the file is replaced only if it stays valid.

    Args:
        entry: YAML, a list of one.

    Raises:
        ParameterFaults: What is wrong with the register with this entry in it.
    """
    name = f"registers/{register}.yaml"
    path = root / "parameters" / name
    kept = path.read_text() if path.is_file() else ""
    # A list without entries is written as [] on a line of its own.
    text = re.sub(r"^\[\]\s*$", "", kept, flags=re.MULTILINE).rstrip("\n")
    text = f"{text}\n{entry}" if text else entry
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    try:
        document = strict_yaml.load(beside, f"parameters/{name}")
        faults = list(document.faults)
        if not faults:
            part = Document(document.file, {register: document.data})
            part.lines.update({(register, *p): n for p, n in document.lines.items()})
            validate(Registers, part, part.data, faults=faults)
        if faults:
            raise ParameterFaults(faults)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class _Reader:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[Fault] = []

    def files(self, folder: str) -> list[Path]:
        return sorted((self.root / "parameters" / folder).glob("*.yaml"))

    def document(self, name: str) -> Document | None:
        path = self.root / "parameters" / name
        if not path.is_file():
            self.faults.append(
                Fault(f"parameters/{name}", 0, "(file)", "no file", "a file", f"create {name}")
            )
            return None
        document = strict_yaml.load(path, f"parameters/{name}")
        self.faults += document.faults
        return document

    def model(self, name: str, model: type[M]) -> M | None:
        document = self.document(name)
        if document is None or document.data is None:
            if document and not document.faults:
                self.faults.append(_empty(document))
            return None
        return validate(model, document, document.data, faults=self.faults)

    def defaults(self) -> dict[str, dict[str, Any]]:
        """Every parameter as it is declared, or as `defaults.yaml` has it for all markets."""
        values: dict[str, dict[str, Any]] = Parameters().model_dump(mode="json")
        if not (self.root / "parameters" / "defaults.yaml").is_file():
            return values
        document = self.document("defaults.yaml")
        given = document.data if document else None
        if not document or not isinstance(given, dict):
            return values
        before = len(self.faults)
        _lay_over(values, given, document, (), self.faults)
        if len(self.faults) == before:
            validate(Parameters, document, values, faults=self.faults)
        return values

    def lifecycle(self) -> Lifecycle | None:
        """The stages of `lifecycle.yaml`, and the team's own of `own_stages.yaml` after them."""
        shipped = self.model("lifecycle.yaml", Lifecycle)
        if shipped is None or not (self.root / "parameters" / _OWN_STAGES).is_file():
            return shipped
        own = self.model(_OWN_STAGES, OwnStages)
        try:
            return Lifecycle(stages=shipped.stages + (own.stages if own else ()))
        except ValidationError as error:
            for one in error.errors():
                why = str(one["ctx"]["error"]) if "ctx" in one else one["msg"]
                file = f"parameters/{_OWN_STAGES}"
                self.faults.append(Fault(file, 1, "stages", why, "stages that fit", "correct them"))
            return None

    def registers(self) -> Registers | None:
        data: dict[str, Any] = {}
        lines: dict[KeyPath, int] = {}
        for name in REGISTERS:
            document = self.document(f"registers/{name}.yaml")
            if document is None or document.faults:
                continue
            if document.data is not None:
                data[name] = document.data
                part = Document(document.file, {name: document.data})
                part.lines.update({(name, *p): n for p, n in document.lines.items()})
                lines |= part.lines
                validate(Registers, part, part.data, faults=self.faults)
        return None if self.faults else Registers.model_validate_json(json.dumps(data))


def _empty(document: Document) -> Fault:
    return Fault(document.file, 1, "(file)", "nothing", "content", "fill the file or remove it")


def _lay_over(
    values: dict[str, dict[str, Any]],
    given: Mapping[str, Any],
    document: Document,
    prefix: KeyPath,
    faults: list[Fault],
) -> None:
    """Put the parameters of one layer over those below; what there is not is a fault."""
    for section, entries in given.items():
        names = entries if isinstance(entries, dict) else {}
        missing = section not in values
        known = values if missing else values[section]
        wrong = (
            [(section,)] if missing else [(section, name) for name in names if name not in known]
        )
        for key in wrong:
            place = (*prefix, *key)
            faults.append(
                Fault(
                    document.file,
                    document.line(place),
                    strict_yaml.dotted(place),
                    strict_yaml.shown(key[-1]),
                    "a known name",
                    unknown("", str(key[-1]), known).fix,
                )
            )
        if not wrong:
            values[section] |= names


def _load_market(
    path: Path,
    defaults: Mapping[str, Mapping[str, Any]],
    jurisdictions: Mapping[str, Jurisdiction | None],
    registers: Registers,
    today: date,
) -> tuple[MarketConfig | None, list[Fault]]:
    name = f"parameters/markets/{path.name}"
    document = strict_yaml.load(path, name)
    faults = list(document.faults)
    if not MARKET_ID.fullmatch(path.stem) or len(path.stem) > _LONGEST_MARKET_ID:
        faults.append(
            Fault(
                name,
                1,
                "(file name)",
                strict_yaml.shown(path.stem),
                "country-business in lower case, e.g. de-fashion",
                "rename the file",
            )
        )
    if document.data is None:
        return None, faults or [_empty(document)]
    if not isinstance(document.data, dict):
        got = strict_yaml.shown(document.data)
        faults.append(Fault(name, 1, "(file)", got, "a mapping", "start with 'title:'"))
        return None, faults
    if (given := document.data.get("id", path.stem)) != path.stem:
        line, got = document.line(("id",)), strict_yaml.shown(given)
        fix = "remove `id`, or rename the file"
        faults.append(Fault(name, line, "id", got, f"the file's name, {path.stem}", fix))
    data = expand({**document.data, "id": path.stem})
    market = validate(MarketConfig, document, data, faults=faults)
    if market is None:
        return None, faults

    def fault(key: KeyPath, got: str, known: Iterable[str]) -> None:
        faults.append(
            Fault(
                name,
                document.line(key),
                strict_yaml.dotted(key),
                strict_yaml.shown(got),
                "a known name",
                unknown("", got, known).fix,
            )
        )

    if market.period and market.period.last_day > today:
        line = document.line(("period", "last_day"))
        got, fix = str(market.period.last_day), "write the last complete day, or remove `period`"
        faults.append(Fault(name, line, "period.last_day", got, f"a day up to {today}", fix))
    if market.jurisdiction not in jurisdictions:
        fault(("jurisdiction",), market.jurisdiction, jurisdictions)
    for table, source in market.sources.items():
        if source.licence not in registers.licences:
            fault(("sources", table, "licence"), source.licence, registers.licences)
    merged = {section: dict(entries) for section, entries in defaults.items()}
    _lay_over(merged, market.parameters, document, ("parameters",), faults)
    if not faults:
        parameters = validate(Parameters, document, merged, faults=faults, prefix=("parameters",))
        if parameters is not None:
            for key, got, known in unknown_names(parameters, market):
                if _is_given(market.parameters, key):  # a default may name what others have
                    fault(("parameters", *key), got, known)
    return (None if faults else market), faults


def _is_given(parameters: Mapping[str, Any], key: KeyPath) -> bool:
    return len(key) > 1 and key[1] in parameters.get(str(key[0]), {})


def _check_registers_name_markets(registers: Registers, markets: set[str]) -> None:
    faults = []
    for role_id, role in registers.roles.items():
        for market in role.markets:
            if market != "all" and market not in markets:
                fault = unknown("parameters/registers/roles.yaml", market, [*markets, "all"])
                faults.append(_at(fault, f"{role_id}.markets"))
    for number, override in enumerate(registers.overrides):
        if override.market not in markets:
            fault = unknown("parameters/registers/overrides.yaml", override.market, markets)
            faults.append(_at(fault, f"[{number}].market"))
        if override.who not in registers.owners:
            fault = unknown("parameters/registers/overrides.yaml", override.who, registers.owners)
            faults.append(_at(fault, f"[{number}].who"))
    for owner_id, owner in registers.owners.items():
        if owner.escalates_to and owner.escalates_to not in registers.owners:
            fault = unknown(
                "parameters/registers/owners.yaml", owner.escalates_to, registers.owners
            )
            faults.append(_at(fault, f"{owner_id}.escalates_to"))
    if faults:
        raise ParameterFaults(faults)


def _at(fault: Fault, field: str) -> Fault:
    return Fault(fault.file, 1, field, fault.got, fault.expected, fault.fix)
