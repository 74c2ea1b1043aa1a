"""Training runs: configuration, loop, loss, checkpoints, adaptation, model cards.

What is drawn for a step comes from `data`.
"""

from uavssr.training.adapt import adapt_model
from uavssr.training.baseline_run import train_baseline
from uavssr.training.config import DEFAULT_ARCH, RunConfig, TrainingConfig
from uavssr.training.loop import Execution, initial_network, perturbed_stf, train
from uavssr.training.loss import bag_loss, image_loss
from uavssr.training.run import run_training

__all__ = [
    "DEFAULT_ARCH",
    "Execution",
    "RunConfig",
    "TrainingConfig",
    "adapt_model",
    "bag_loss",
    "image_loss",
    "initial_network",
    "perturbed_stf",
    "run_training",
    "train",
    "train_baseline",
]
