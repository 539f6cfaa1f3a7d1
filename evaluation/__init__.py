"""Scores of trained runs on labelled images, and the thresholds and weights that are chosen by them."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .curves import draw_curves as draw_curves
    from .held_out import trained_on as trained_on
    from .level_picture import draw_levels as draw_levels
    from .level_response import LevelResponses as LevelResponses
    from .level_response import Response as Response
    from .level_response import level_responses as level_responses
    from .scores import MEASURES as MEASURES
    from .scores import Scores as Scores
    from .scores import read_scores as read_scores
    from .scoring import evaluate as evaluate
    from .search_space import METRICS as METRICS
    from .search_space import SearchSpace as SearchSpace
    from .tuning import SearchResult as SearchResult
    from .tuning import Tuning as Tuning
    from .tuning import decide as decide

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curves": ["draw_curves"],
        "held_out": ["trained_on"],
        "level_picture": ["draw_levels"],
        "level_response": ["LevelResponses", "Response", "level_responses"],
        "scores": ["MEASURES", "Scores", "read_scores"],
        "scoring": ["evaluate"],
        "search_space": ["METRICS", "SearchSpace"],
        "tuning": ["SearchResult", "Tuning", "decide"],
    },
)
