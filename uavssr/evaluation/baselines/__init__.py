"""Methods that PGU-Net is compared with, written from their papers.

Nothing here is used by a reconstruction.
"""

from uavssr.evaluation.baselines.awan import Awan
from uavssr.evaluation.baselines.dian import CrossFusionNetwork
from uavssr.evaluation.baselines.hscnn import HscnnPlus
from uavssr.evaluation.baselines.hsrnet import Hsrnet
from uavssr.evaluation.baselines.mst import MstLarge, MstPlusPlus

__all__ = ["Awan", "CrossFusionNetwork", "HscnnPlus", "Hsrnet", "MstLarge", "MstPlusPlus"]
