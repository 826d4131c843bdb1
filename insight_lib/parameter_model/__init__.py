"""Every parameter there is, by stage, each declared once."""

from __future__ import annotations

from insight_lib.parameter_model.declared import GeneralParameters as GeneralParameters
from insight_lib.parameter_model.features import FeatureParameters as FeatureParameters
from insight_lib.parameter_model.features import TransferParameters as TransferParameters
from insight_lib.parameter_model.features import ValueParameters as ValueParameters
from insight_lib.parameter_model.impact import ImpactParameters as ImpactParameters
from insight_lib.parameter_model.impact import LearningParameters as LearningParameters
from insight_lib.parameter_model.prediction import Amount as Amount
from insight_lib.parameter_model.prediction import ContactChannel as ContactChannel
from insight_lib.parameter_model.prediction import PredictionParameters as PredictionParameters
from insight_lib.parameter_model.segments import SegmentParameters as SegmentParameters
from insight_lib.registers import Model


class Parameters(Model):
    """Every parameter of a market's runs, by stage."""

    general: GeneralParameters = GeneralParameters()
    features: FeatureParameters = FeatureParameters()
    segments: SegmentParameters = SegmentParameters()
    value: ValueParameters = ValueParameters()
    transfer: TransferParameters = TransferParameters()
    prediction: PredictionParameters = PredictionParameters()
    impact: ImpactParameters = ImpactParameters()
    learning: LearningParameters = LearningParameters()
