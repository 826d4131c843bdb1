"""An analysis under the hand of an analyst: sliders and menus over what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from insight_lib.analyses import Analysis, Missing, options

if TYPE_CHECKING:
    from insight_lib.pages import Page

_STEPS = 100
_REACH = 4  # an unbounded number goes up to so many times what it is


def explore(page: Page, analysis: Analysis) -> Any:
    """Controls for the options of an analysis and for the parameters that it read.

    The sentence, the chart and the table follow the hand. A button shows the lines of YAML that
    would make the choice permanent, as far as it is of parameters.

    Returns:
        An ipywidgets box: the controls, the button with its text, and what is shown.
    """
    import ipywidgets as widgets  # type: ignore[import-untyped]

    answer = page.analyses.answer(analysis)
    fields = type(page.run.parameters).model_fields
    named = {name: _control(name, value, None) for name, value in options(analysis).items()}
    for name in sorted(answer.parameters):
        named[name] = _control(name, getattr(page.run.parameters, name), fields[name])
    controls = {name: control for name, control in named.items() if control is not None}
    shown, lines = widgets.Output(), widgets.Textarea(layout=widgets.Layout(width="100%"))
    before = {name: control.value for name, control in controls.items()}

    def changes() -> dict[str, Any]:
        return {n: c.value for n, c in controls.items() if c.value != before[n]}

    def follow(_: Any = None) -> None:
        shown.outputs = _outputs(page, analysis, changes())

    def write(_: Any) -> None:
        kept = {name: value for name, value in changes().items() if name in fields}
        lines.value = yaml_lines(page, kept)

    for control in controls.values():
        control.observe(follow, names="value")
    button = widgets.Button(description="Show as YAML")
    button.on_click(write)
    follow()
    return widgets.VBox([*controls.values(), widgets.HBox([button, lines]), shown])


def yaml_lines(page: Page, changes: Mapping[str, Any]) -> str:
    """What to write into the market's file, so that parameters stay changed."""
    import yaml

    market = page.market
    if not changes:
        return "# no parameter differs from what is written"
    section = market.stage.parameters or market.stage.id
    text = yaml.safe_dump({"parameters": {section: dict(changes)}}, sort_keys=False)
    return f"# parameters/markets/{market.id}.yaml\n{text}"


def _outputs(page: Page, analysis: Analysis, changes: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the analysis shows, as outputs of a cell; a value that may not be says why."""
    try:
        items = page.items(analysis, **changes)
    except (ValueError, TypeError) as error:
        return ({"output_type": "stream", "name": "stderr", "text": f"{error}\n"},)
    return tuple(
        {"output_type": "display_data", "data": _bundle(item), "metadata": {}}
        for item in items
        if item is not None
    )


def _bundle(item: Any) -> Any:
    make: Callable[[], Any] | None = getattr(item, "_repr_mimebundle_", None)
    return make() if make else {"text/plain": item.why if isinstance(item, Missing) else f"{item}"}


def _control(name: str, value: Any, field: Any) -> Any:
    """A control for a value within the bounds of its parameter; none for what is no number."""
    import ipywidgets as widgets

    told: dict[str, Any] = {
        "description": name.replace("_", " "),
        "style": {"description_width": "initial"},
        "layout": widgets.Layout(width="60%"),
    }
    kind = field.annotation if field is not None else type(value)
    if isinstance(value, bool):
        return widgets.Checkbox(value=value, **told)
    if get_origin(kind) is Literal:
        return widgets.Dropdown(options=get_args(kind), value=value, **told)
    if not isinstance(value, int | float):
        return None
    low, high = _bounds(value, field)
    if isinstance(value, int):
        return widgets.IntSlider(
            value=value, min=int(low), max=int(high), continuous_update=False, **told
        )
    return widgets.FloatSlider(
        value=value, min=low, max=high, step=(high - low) / _STEPS, readout_format=".3g",
        continuous_update=False, **told,
    )  # fmt: skip


def _bounds(value: float, field: Any) -> tuple[float, float]:
    """What a parameter may be; an open end is left by one step, an unbounded one by reach."""
    rules = list(getattr(field, "metadata", ()))
    step = 1 if isinstance(value, int) else abs(value) / _STEPS or 1 / _STEPS
    low, high = min(0.0, value * _REACH), max(value * _REACH, 1.0)
    for rule in rules:
        low = getattr(rule, "ge", low)
        low = low if (gt := getattr(rule, "gt", None)) is None else gt + step
        high = getattr(rule, "le", high)
        high = high if (lt := getattr(rule, "lt", None)) is None else lt - step
    return low, max(low, min(high, max(value * _REACH, low + step)))
