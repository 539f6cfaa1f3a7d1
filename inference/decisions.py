"""Which decision holds for several runs together: the one that was made for these models, known by what they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from .options import PredictOptions
from .run import Run
from .run_files import Decision

logger = logging.getLogger(__name__)


def decided_together(runs: Sequence[Run]) -> Decision | None:
    """Returns what `decide` found for exactly these runs together, or for whole folds of those that it was given.

    Weights are in the order of the runs. Any of the runs may know of it. Where they know of decisions for other runs
    only, that is said.
    """
    if len(runs) == 1:
        return runs[0].decision
    known: list[Decision] = []
    for run in runs:
        if run.decision.ensemble is not None and run.decision.ensemble not in known:
            known.append(run.decision.ensemble)
    found = [fitting for decision in known if (fitting := restricted_to(decision, runs)) is not None]
    if found:
        if any(other != found[0] for other in found):
            logger.warning("several decisions were made for %s: that of the first is taken", names_of(runs))
        return found[0]
    if known:
        logger.warning(
            "what was decided for an ensemble of %s does not hold for %s: weights are equal, thresholds the mean of "
            "those of each; `maskzoo decide` with these runs decides again",
            " + ".join(known[0].members or ("other runs",)),
            names_of(runs),
        )
    return None


def restricted_to(decision: Decision, runs: Sequence[Run]) -> Decision | None:
    """Returns a decision of an ensemble with the weights of these runs; `None` if it was not made for them.

    It holds for all of its members, or for all members of some of the folds that it was made on. Decisions of earlier
    versions know their members by name: they hold where no two have the same.
    """
    members, weights = decision.members, decision.weights
    if members is None or weights is None or len(members) != len(weights):
        return None
    if decision.models is not None:
        keys, asked = decision.models, [run.identity for run in runs]
    else:
        keys, asked = members, [run.name for run in runs]
        if len(set(keys)) < len(keys) or len(set(asked)) < len(asked):
            return None
    places: dict[str | None, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    chosen = [places[key].pop(0) if places.get(key) else None for key in asked]
    found = [place for place in chosen if place is not None]
    if len(found) < len(runs):
        return None
    if len(found) < len(keys):
        folds = decision.folds or (0,) * len(keys)
        if {folds[place] for place in found} & {folds[place] for place in range(len(keys)) if place not in found}:
            return None
    if not sum(weights[place] for place in found) > 0:
        return None
    return replace(decision, weights=tuple(weights[place] for place in found))


def agreed(runs: Sequence[Run]) -> Decision:
    """Returns what all runs have decided alike."""
    first, *others = (run.decision for run in runs)
    return first.agreed_with(others)


def warn_of_other_conditions(decision: Decision, options: PredictOptions) -> None:
    """Warns where a decision is applied to answers of another kind than it was chosen on."""
    if decision.metric is None or options.threshold is not None or options.no_decision:
        return
    differences = []
    tta = (decision.chosen_on or {}).get("tta", "none")
    if sorted(tta.split(",")) != sorted(options.tta.split(",")):
        differences.append(f"`tta` {tta}, not {options.tta}")
    if options.weights is not None and decision.weights is not None:
        total, of_all = sum(options.weights), sum(decision.weights)
        pairs = zip(options.weights, decision.weights, strict=False)
        if any(abs(given / total - chosen / of_all) > 1e-6 for given, chosen in pairs):
            differences.append("other `weights`")
    if options.reduction != "probabilities":
        differences.append(f"`reduction` probabilities, not {options.reduction}")
    if options.temperature != 1:
        differences.append(f"`temperature` 1, not {options.temperature:g}")
    if options.crf:
        differences.append("no `crf`")
    if differences:
        logger.warning(
            "the decision of these runs was made with %s and may not suit these predictions: run `maskzoo decide` with "
            "the same options, or set `threshold` or `no_decision`",
            ", and with ".join(differences),
        )


def names_of(runs: Sequence[Run]) -> str:
    """Returns the names of runs, with as much of their folders as tells them apart."""
    return " + ".join(distinct_names(runs))


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """Returns a name for each run: that of its folder, behind those of the folders around it where others share it."""
    places = [(*run.path.resolve().parts[:-1], run.name) for run in runs]
    depth = 1
    while len({place[-depth:] for place in places}) < len(set(places)):
        depth += 1
    return ["/".join(place[-depth:]) for place in places]
