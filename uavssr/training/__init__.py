"""Training runs: configuration, loop, loss, checkpoints, adaptation, model cards.

What is drawn for a step comes from `data`.
"""

from uavssr.training.adapt import adapt_model
from uavssr.training.config import RunConfig, TrainingConfig
from uavssr.training.loop import Execution, initial_network, train
from uavssr.training.run import run_training

__all__ = [
    "Execution",
    "RunConfig",
    "TrainingConfig",
    "adapt_model",
    "initial_network",
    "run_training",
    "train",
]
