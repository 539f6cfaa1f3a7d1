"""The step on the jax backend: the same one, on a single device, with the state handed in and out. Imports jax late."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import keras

from maskzoo.errors import OptionError

from .keras_types import Tensor
from .recipe import Recipe
from .step import Batch, Trainer

ONE_DEVICE = ("auto", "cpu:1", "gpu:1")

# The values of groups of variables, as Keras hands them to a step.
State = Sequence[Sequence[Tensor]]
# What a step of another backend returns, and the values after it.
StepResult = tuple[Any, tuple[list[Tensor], ...]]


def open_device(recipe: Recipe) -> None:
    """Makes jax use the recipe's device, by default the first that it finds.

    Raises:
        OptionError: If the recipe asks for what only the tensorflow backend does, or the machine has no such device.
    """
    refused = {
        "devices": (recipe.devices not in ONE_DEVICE, "one device on the jax backend"),
        "hosts": (recipe.hosts, "one host on the jax backend"),
        "xla": (recipe.xla, "false on the jax backend, which compiles every step anyway"),
        "norm": (recipe.norm == "sync", "batch or group on the jax backend, whose one device sees the whole batch"),
        "mixed_precision": (recipe.mixed_precision == "float16", "none or bfloat16 on the jax backend"),
        "deterministic": (
            recipe.deterministic,
            "false on the jax backend, where XLA_FLAGS=--xla_gpu_deterministic_ops=true has this effect",
        ),
    }
    for name, (is_refused, expected) in refused.items():
        if is_refused:
            raise OptionError(name, expected, getattr(recipe, name))
    if recipe.devices != "auto":
        jax: Any = import_module("jax")  # which is not always installed

        try:
            device = jax.devices(recipe.devices.split(":")[0])[0]
        except RuntimeError as error:
            raise OptionError("devices", "a device that jax finds on this machine", recipe.devices) from error
        jax.config.update("jax_default_device", device)


class JaxTrainer(Trainer):
    """A `Trainer` for the jax backend, whose steps are always compiled.

    In the scope of a step all variables stand for the values that it was given; what is assigned to them is returned.
    """

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "rmsprop",
        *,
        jit_compile: bool = True,
        auto_scale_loss: bool = True,
    ) -> None:
        super().compile(optimizer, jit_compile=True, auto_scale_loss=auto_scale_loss)

    # With this backend Keras hands the state to a step, and takes the one after it.
    def train_step(self, state: State, batch: Batch) -> StepResult:  # pyright: ignore[reportIncompatibleMethodOverride]
        return with_state(super().train_step, self.states(), state, batch)

    def test_step(self, state: State, batch: Batch) -> StepResult:  # pyright: ignore[reportIncompatibleMethodOverride]
        weights, others, _, counts = self.states()
        return with_state(super().test_step, (weights, others, counts), state, batch)

    def predict_step(self, state: State, batch: Batch) -> tuple[Tensor, list[Tensor]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        losses, (_, others) = with_state(super().predict_step, self.states()[:2], state, batch)
        return losses, others

    def states(self) -> tuple[list[keras.Variable], ...]:
        """Returns all variables, in the order in which Keras hands over their values."""
        return self.trainable_variables, self.non_trainable_variables, self.optimizer.variables, self.metrics_variables

    def gradients_of(self, function: Callable[[], Tensor], variables: Sequence[keras.Variable]) -> list[Tensor | None]:
        """As `strategy.gradients`; what the function assigns to other variables is kept."""
        jax: Any = import_module("jax")  # which is not always installed

        known = {id(variable) for variable in variables}
        others = [variable for group in self.states() for variable in group if id(variable) not in known]
        before = [variable.value for variable in others]

        def value_of(values: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
            with keras.StatelessScope(
                [*zip(variables, values, strict=True), *zip(others, before, strict=True)]
            ) as scope:
                value = function()
            return value, [scope.get_current_value(variable) for variable in others]

        gradients, after = jax.grad(value_of, has_aux=True)([variable.value for variable in variables])
        for variable, value in zip(others, after, strict=True):
            variable.assign(value)
        return gradients

    def after(self, earlier: Sequence[Tensor | None], tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """As `strategy.after`."""
        jax: Any = import_module("jax")  # which is not always installed

        return jax.lax.optimization_barrier((earlier, tensors))[1]


def with_state(
    step: Callable[[Batch], Any],  # whatever JAX can return from a step
    groups: Sequence[Sequence[keras.Variable]],
    state: State,
    batch: Batch,
) -> StepResult:
    """Runs a step on the values of groups of variables; returns what it returns, and the values after it.

    Args:
        step: The step.
        groups: Groups of variables.
        state: The value of each of them.
        batch: The batch.
    """
    pairs = [pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)]
    with keras.StatelessScope(pairs) as scope:
        result = step(batch)
    return result, tuple([scope.get_current_value(variable) for variable in group] for group in groups)
