"""What a stage of the lifecycle declares: needs, purpose, what it reads and publishes."""

from __future__ import annotations

from pydantic import Field, model_validator

from insight_lib.registers import Id, Model, Purpose, Sentence


class Stage(Model):
    """One stage of the lifecycle, as registered in `lifecycle.yaml`.

    Attributes:
        publishes: Tables that every run has to publish.
        may_publish: Tables that it publishes where the market's data allow.
        publishes_aggregates: Aggregates that it gives to other markets; no row among them.
        reads_aggregates: Aggregates of other markets that it reads.
        after: Stages that it reads where they have run, and does without where they failed.
        keeps: Folders in the market's region that outlive its runs, such as `models`.
        reads_decisions: What people decided and it reads, such as `models` or `reviews`.
        own_tables: Of what it publishes, the tables that no other stage may read.
        used_for: Of what it publishes, the tables made for a purpose of their own; who does not
            agree to it is not in them for any reader.
        package: Of `insight_lib`, that holds its analyses and words; its own id where left out.
        parameters: The section of the parameters that it reads; its own id where left out.
    """

    id: Id
    number: int = Field(ge=1, le=12)
    title: Sentence
    question: Sentence
    notebook: str = Field(pattern=r"^notebooks/(own/)?[0-9]{2}_[a-z_]+\.ipynb$")
    purpose: Purpose
    needs: tuple[Id, ...] = ()
    audiences: tuple[Id, ...] = ()
    per_segment: bool = False
    publishes: tuple[Id, ...] = ()
    may_publish: tuple[Id, ...] = ()
    publishes_aggregates: tuple[Id, ...] = ()
    reads_aggregates: tuple[Id, ...] = ()
    after: tuple[Id, ...] = ()
    keeps: tuple[Id, ...] = ()
    reads_decisions: tuple[Id, ...] = ()
    own_tables: tuple[Id, ...] = ()
    used_for: dict[Id, Purpose] = {}
    package: Id | None = None
    parameters: Id | None = None

    @property
    def home(self) -> str:
        """Package of `insight_lib` that holds its analyses and words."""
        return self.package or self.id

    @property
    def section(self) -> str:
        """Section of the parameters that it reads."""
        return self.parameters or self.id


class OwnStages(Model):
    """Stages of a team's own, beside those of the lifecycle; an upgrade does not touch them."""

    stages: tuple[Stage, ...] = ()


class Lifecycle(Model):
    """All stages, in order."""

    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_of_each(self) -> Lifecycle:
        ids = [stage.id for stage in self.stages]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"stage {', '.join(twice)}: there are two of this id")
        return self

    @model_validator(mode="after")
    def _ends_read_across(self) -> Lifecycle:
        """What reads across is an end: markets would wait for each other otherwise."""
        known = {stage.id for stage in self.stages}
        needed = {need for stage in self.stages for need in stage.needs}
        named = needed | {name for stage in self.stages for name in stage.after}
        if unknown := sorted(named - known):
            raise ValueError(f"needs {', '.join(unknown)}: there is no such stage")
        for stage in self.stages:
            is_end = bool(stage.reads_aggregates or stage.after)
            if is_end and (stage.id in needed or stage.publishes_aggregates):
                raise ValueError(
                    f"stage {stage.id} reads aggregates or comes after others, so no stage may "
                    "need it and it gives no aggregates"
                )
        return self
