"""An analysis under the hand of an analyst: sliders and menus over what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from matplotlib.figure import Figure

from insight_lib.analyses import Analysis, Missing, options
from insight_lib.charts import theme
from insight_lib.schema import TABLES, Tag

if TYPE_CHECKING:
    import pandas as pd

    from insight_lib.pages import Page

_STEPS = 100
_MOST_COLUMNS = 6
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
    text = yaml.safe_dump({"parameters": {market.stage.section: dict(changes)}}, sort_keys=False)
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
        "tooltip": getattr(field, "description", None) or "",
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


def pictures(frame: pd.DataFrame, *, by: str | None = None, most_rows: int = 2_000) -> Figure:
    """Distributions of the numbers of a table, each against each, in the house's colours.

    For exploring alone: nothing of it is published, and a column that names persons is not drawn.

    Args:
        frame: Any table; of its columns the numbers and the days are drawn.
        by: A column of few values to tell rows apart.
        most_rows: More rows than this are sampled, the same ones each time.

    Raises:
        ValueError: There is no number to draw, or no column `by`.
    """
    import seaborn as sns

    named = {c.name for s in TABLES.values() for c in s.columns if Tag.IDENTIFIER in c.tags}
    shown = _as_floats(frame.drop(columns=[c for c in frame.columns if c in named]))
    columns = ", ".join(map(str, shown)) or "none"
    if by is not None and by not in shown:
        raise ValueError(f"no column {by!r} to tell rows apart; there is {columns}")
    numbers = [c for c in shown.select_dtypes("number") if c != by]
    if not numbers:
        raise ValueError(f"no column of numbers among {columns}")
    rows = shown.sample(min(most_rows, len(shown)), random_state=0)
    colours = [theme.ACCENT, theme.UNSURE, theme.GOOD, theme.BAD, theme.MARK]
    levels = rows[by].nunique() if by else 1
    with sns.axes_style("white", rc=theme.STYLE):
        grid = sns.pairplot(
            rows[[*numbers[:_MOST_COLUMNS], *([by] if by else [])]],
            hue=by,
            palette=sns.color_palette(colours, levels) if by else None,
            corner=True,
            plot_kws={"s": 10, "linewidth": 0, **({} if by else {"color": theme.ACCENT})},
            diag_kws={} if by else {"color": theme.ACCENT},
        )
    return grid.figure


def heat_map(frame: pd.DataFrame) -> Figure:
    """Rank correlations of the numbers of a table (Spearman, 1904).

    Raises:
        ValueError: Fewer than two columns of numbers.
    """
    import seaborn as sns

    numbers = _as_floats(frame).select_dtypes("number")
    if numbers.shape[1] < 2:
        raise ValueError(f"{numbers.shape[1]} columns of numbers, and it takes two")
    with sns.axes_style("white", rc=theme.STYLE):
        figure = Figure(figsize=(1 + 0.6 * numbers.shape[1], 1 + 0.5 * numbers.shape[1]))
        sns.heatmap(
            numbers.corr(method="spearman"), ax=figure.subplots(), vmin=-1, vmax=1, center=0,
            annot=True, fmt=".1f", linewidths=1, cbar=False,
            cmap=sns.diverging_palette(20, 220, as_cmap=True),
        )  # fmt: skip
    return figure


def _as_floats(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact amounts as floats, to be drawn."""
    exact = {
        str(name): column.astype(float)
        for name, column in frame.items()
        if column.dtype == object and isinstance(next(iter(column.dropna()), None), Decimal)
    }
    return frame.assign(**exact)
