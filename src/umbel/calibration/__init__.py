"""Measures what the engines cost on this machine: small plans are run, and a profile is fitted.

`plans` says which plans, `measure` runs them through the engines' own compilers, `fit` finds the
figures of a cost profile that explain the times best, `calibrate` puts it together. The file of
measured profiles, which sessions read, is `umbel.platforms.calibrated`.
"""

from umbel.calibration.calibrate import Outcome, calibrate
from umbel.calibration.measure import Extent

__all__ = ["Extent", "Outcome", "calibrate"]
