"""The step on the jax backend: the same one, on a single device, with the state handed in and out. Imports jax late."""

import keras

from .step import Trainer

ONE_DEVICE = ("auto", "cpu:1", "gpu:1")


def open_device(recipe):
    """Puts what follows on the recipe's device, by default the first that jax finds.

    Raises:
        ValueError: If the recipe asks for what only the tensorflow backend does, or the machine has no such device.
    """
    refused = {
        "devices": (recipe.devices not in ONE_DEVICE, "one device on the jax backend"),
        "hosts": (recipe.hosts, "one host on the jax backend"),
        "xla": (recipe.xla, "false on the jax backend, which compiles every step anyhow"),
        "norm": (recipe.norm == "sync", "batch or group on the jax backend, whose one device sees the whole batch"),
        "mixed_precision": (recipe.mixed_precision == "float16", "none or bfloat16 on the jax backend"),
        "deterministic": (
            recipe.deterministic,
            "false on the jax backend, where XLA_FLAGS=--xla_gpu_deterministic_ops=true is what does it",
        ),
    }
    for name, (is_refused, expected) in refused.items():
        if is_refused:
            received = getattr(recipe, name)
            raise ValueError(f"--{name.replace('_', '-')}: expected {expected}; received {received}")
    if recipe.devices != "auto":
        import jax

        try:
            device = jax.devices(recipe.devices.split(":")[0])[0]
        except RuntimeError as error:
            raise ValueError(f"--devices: expected a device that jax finds here; received {recipe.devices}") from error
        jax.config.update("jax_default_device", device)


class JaxTrainer(Trainer):
    """A `Trainer` for the jax backend, whose steps are always compiled.

    In the scope of a step all variables stand for the values that it was handed; what is assigned to them is handed
    back.
    """

    def compile(self, *args, jit_compile=True, **options):
        super().compile(*args, jit_compile=True, **options)

    def train_step(self, state, batch):
        return handed(super().train_step, self.states(), state, batch)

    def test_step(self, state, batch):
        weights, others, _, counts = self.states()
        return handed(super().test_step, (weights, others, counts), state, batch)

    def predict_step(self, state, batch):
        losses, (_, others) = handed(super().predict_step, self.states()[:2], state, batch)
        return losses, others

    def states(self):
        """All variables, in the order in which Keras hands over their values."""
        return self.trainable_variables, self.non_trainable_variables, self.optimizer.variables, self.metrics_variables

    def gradients_of(self, function, variables):
        """As `strategy.gradients`; what the function assigns to other variables stands."""
        import jax

        known = {id(variable) for variable in variables}
        others = [variable for group in self.states() for variable in group if id(variable) not in known]
        before = [variable.value for variable in others]

        def value_of(values):
            with keras.StatelessScope(
                [*zip(variables, values, strict=True), *zip(others, before, strict=True)]
            ) as scope:
                value = function()
            return value, [scope.get_current_value(variable) for variable in others]

        gradients, after = jax.grad(value_of, has_aux=True)([variable.value for variable in variables])
        for variable, value in zip(others, after, strict=True):
            variable.assign(value)
        return gradients

    def after(self, earlier, tensors):
        """As `strategy.after`."""
        import jax

        return jax.lax.optimization_barrier((earlier, tensors))[1]


def handed(step, groups, state, batch):
    """Runs a step on the values of groups of variables; returns what it returns, and the values after it."""
    pairs = [pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)]
    with keras.StatelessScope(pairs) as scope:
        result = step(batch)
    return result, tuple([scope.get_current_value(variable) for variable in group] for group in groups)
