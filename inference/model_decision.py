"""The part of a run's decision that holds for one of its models, of the best epoch or of the last."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from .run_files import Decision
from .run_folders import LAST

logger = logging.getLogger(__name__)


def decision_for_model(stored: Decision, model: Path, identity: str | None) -> Decision:
    """Returns the part of a run's `decision.json` that was chosen for one of its models.

    A decision that was made for another model does not hold, which is said: the threshold is 0.5 then.

    Args:
        stored: The content of the file.
        model: The model's file.
        identity: What the model is: `model_identity.model_identity`.
    """
    none = Decision((0.5,) * len(stored.thresholds), ensemble=stored.ensemble)
    if model.name == LAST:
        if stored.last is None:
            if replace(stored, ensemble=None) != replace(none, ensemble=None):
                logger.warning(
                    "%s:last: what was decided holds for the best epoch, not for the last: threshold 0.5, no "
                    "post-processing; `maskzoo decide %s:last` decides for the last",
                    model.parent,
                    model.parent,
                )
            return none
        stored = replace(stored.last, ensemble=stored.ensemble)
    if stored.models is not None and identity not in stored.models:
        logger.warning(
            "%s: what was decided holds for an earlier model of this run: threshold 0.5, no post-processing; "
            "`maskzoo decide` decides again",
            model,
        )
        return none
    return replace(stored, last=None)
