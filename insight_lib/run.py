"""What holds for every number of one run: the market, the day, the level, the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from insight_lib.findings import TooFew

if TYPE_CHECKING:
    from insight_lib.parameter_model import GeneralParameters

P = TypeVar("P")


@dataclass(frozen=True, kw_only=True)
class Run(Generic[P]):
    """One stage of one market up to one day.

    Attributes:
        stage: Id of the stage.
        market, title: The market's id, and its name for readers.
        as_of: Last complete day that the run knows of.
        currency: ISO 4217, of every amount.
        general: Parameters that every stage uses.
        parameters: Those of this stage.
    """

    stage: str
    market: str
    title: str
    as_of: date
    currency: str
    general: GeneralParameters
    parameters: P

    @property
    def level(self) -> float:
        return self.general.interval_level

    @property
    def seed(self) -> int:
        return self.general.seed

    @property
    def smallest_cell(self) -> int:
        """Fewest customers behind a published number."""
        return self.general.minimum_cell_size

    @property
    def range(self) -> dict[str, Any]:
        """Day and level, as an estimate takes them."""
        return {"as_of": self.as_of, "level": self.level}

    def require_customers(self, n: int) -> None:
        """Refuse to say anything of too few customers.

        Raises:
            TooFew: Fewer than `general.minimum_customers`.
        """
        if n < (minimum := self.general.minimum_customers):
            raise TooFew(f"{n:,} customers, and it takes {minimum:,}", takes="more customers")

    def changed(self, parameters: Mapping[str, Any]) -> Run[P]:
        """The same run with other parameters of its stage.

        Raises:
            ValueError: A value is outside what its parameter may be.
        """
        given: Any = self.parameters
        model = type(given)
        return replace(self, parameters=model.model_validate(given.model_dump() | dict(parameters)))

    def recording(self, names: set[str]) -> Run[P]:
        """The same run, noting in `names` which parameters of its stage are read."""
        recorded: Any = _Recorded(self.parameters, names)
        return replace(self, parameters=recorded)


class _Recorded:
    """Parameters that note what is read of them."""

    def __init__(self, parameters: Any, names: set[str]) -> None:
        self._parameters, self._names = parameters, names

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._parameters, name)
        self._names.add(name)
        return value
