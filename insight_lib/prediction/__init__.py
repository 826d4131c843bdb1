"""Stage 05: predict what customers will do, and check that the prediction can be trusted."""

from insight_lib.prediction.causes import cause, slices
from insight_lib.prediction.loaded import agreed, plan, registry, snapshots, sources, targets
from insight_lib.prediction.marks import amounts, expected, performance, surprise
from insight_lib.prediction.shifts import drift, gone_missing, score_shift, shifted
from insight_lib.prediction.triggers import reasons, retrain
from insight_lib.prediction.watch import model, model_states, models, rollback, watch, watched

__all__ = [
    "agreed",
    "amounts",
    "cause",
    "drift",
    "expected",
    "gone_missing",
    "model",
    "model_states",
    "models",
    "performance",
    "plan",
    "reasons",
    "registry",
    "retrain",
    "rollback",
    "score_shift",
    "shifted",
    "slices",
    "snapshots",
    "sources",
    "surprise",
    "targets",
    "watch",
    "watched",
]
