"""Cost estimates with qkeras.estimate's names and meaning, on graphs, Keras models and model files."""

from qsim.estimate.accumulators import (
    analyze_accumulator,
    analyze_accumulator_from_sample,
    proven_bits,
    proven_input_ranges,
    qkeras_accumulator,
)
from qsim.estimate.modes import get_quant_mode
from qsim.estimate.operations import (
    LayerEstimate,
    create_activation_cache,
    estimate,
    extract_model_operations,
    get_operation_type,
    print_qstats,
)
from qsim.estimate.source import as_source

__all__ = [
    "LayerEstimate",
    "analyze_accumulator",
    "analyze_accumulator_from_sample",
    "as_source",
    "create_activation_cache",
    "estimate",
    "extract_model_operations",
    "get_operation_type",
    "get_quant_mode",
    "print_qstats",
    "proven_bits",
    "proven_input_ranges",
    "qkeras_accumulator",
]
