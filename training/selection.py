"""Which model is the run's best where epochs cannot be compared as they are: between stages, and with their average."""

import logging
from collections.abc import Sequence

import keras

from maskzoo.files import JSON, written_atomically

from .averaging import AVERAGED, average_kept, kept_model
from .choice import Carried, Choice, measured_on, minimum_of, ranked
from .history import MONITOR, History
from .keras_types import load_model
from .recipe import Recipe
from .run_folder import BEST
from .session import Session, build_loss, new_trainer
from .step import Objective
from .strategy import reading_errors
from .windows import validation_windows

logger = logging.getLogger(__name__)


def average_best(session: Session, stage: Recipe, number: int, history: History, choice: Choice) -> None:
    """Averages the weights of the best epochs, and makes the result the run's best model if it is no worse.

    Args:
        session: What was trained, on what.
        stage: The recipe of the last stage.
        number: Number of the last stage.
        history: All epochs.
        choice: What was chosen.
    """
    scores = choice.scores(history, number, minimum_of(stage))
    epochs = ranked(scores)[: stage.average_best]
    with session.strategy.scope():
        network = average_kept(history.run, epochs)
    score, best = score_of(session, stage, network), scores[epochs[0]]
    logger.info("average    of the %d best epochs: Dice %.4f; best single epoch: %.4f", len(epochs), score, best)
    if score >= best:
        with written_atomically(history.run / BEST) as unfinished:
            unfinished.write_bytes((history.run / AVERAGED).read_bytes())
        chosen = {
            "epoch": None,
            "average_of": epochs,
            MONITOR: score,
            "why": f"no worse than {best} of epoch {epochs[0]}",
        }
        choice.described = choice.described | chosen
        choice.write()


def score_of(session: Session, stage: Recipe, network: keras.Model) -> float:
    """Returns the Dice of a model on the validation windows of a stage."""
    with session.strategy.scope():
        other = Session(network, session.dataset, session.strategy)
        # The weights of outputs play no part in the score.
        trainer = new_trainer(other, stage, Objective(build_loss(stage, session.dataset)))
        trainer.compile(jit_compile=False, auto_scale_loss=False)
    with reading_errors():
        scores: dict[str, float] = trainer.evaluate(validation_windows(other, stage), verbose=0, return_dict=True)
    return float(scores["dice"])


def carry_over(session: Session, stages: Sequence[Recipe], number: int, history: History, choice: Choice) -> None:
    """Scores the best models so far on the windows of a stage that begins, so that its epochs compete with them fairly.

    Stages that did not train the mask, nor any before them, leave nothing to compete with.

    Args:
        session: What is trained, on what.
        stages: The recipes of all stages.
        number: Number of the stage.
        history: The finished epochs.
        choice: What is chosen so far, which keeps the scores.
    """
    known = choice.carried.get(number)
    if number == 1 or not session.dataset.validation or (known is not None and known.after == len(history)):
        return
    before, stage = stages[number - 2], stages[number - 1]
    kept = stage.average_best or 1
    scores = choice.scores(history, number - 1, minimum_of(before))
    scores = {epoch: scores[epoch] for epoch in ranked(scores)[:kept]}
    if not any(map(trains_mask, stages[: number - 1])):
        scores = {}
    elif (measured := measure(session, before)) != measure(session, stage):
        logger.info("measuring  the best so far on the windows of stage %d, which are others", number)
        for epoch in scores:
            path = kept_model(history.run, epoch) if stage.average_best else history.run / BEST
            with session.strategy.scope():
                network = load_model(path)
            scores[epoch] = score_of(session, stage, network)
        logger.debug("windows before: %s", measured)
        choice.described["measured_again"] = {"stage": number, **measure(session, stage), MONITOR: max(scores.values())}
    choice.carried[number] = Carried(len(history), scores)
    choice.write()


def measure(session: Session, stage: Recipe) -> dict[str, JSON]:
    """Returns on what a stage measures: of the same images, windows of one size and number are the same."""
    return measured_on(validation_windows(session, stage))


def trains_mask(stage: Recipe) -> bool:
    """Returns whether a stage trains the output that is measured."""
    return (stage.output_weights or {}).get("mask", 1.0) != 0
