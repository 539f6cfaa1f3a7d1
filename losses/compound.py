"""Sums of losses by name, as one Keras loss."""

import ast
import functools
import numbers

import keras
from keras import ops

from .pixel import weighted_bce
from .region import dice_distance
from .registry import TASKS, defaults, find_loss, nearest, register_loss
from .target import class_mean, nonempty, prepare


def build_loss(spec, *, task="binary", class_weights=None, ignore_index=None, dtype="float32", **options):
    """Builds a Keras loss from a name or a weighted sum of names, for logits.

    Args:
        spec: A name of `list_losses()` or a sum such as `bce+dice`, `0.5*bce+0.5*dice`, `0.4*(focal(gamma=2)+dice)`;
            `nonempty(...)` around a part scores it only on samples that have foreground.
        task: `binary` or `multilabel` (labels `(batch, *spatial, channels)` in {0, 1}, sigmoid), or `multiclass` (class
            numbers `(batch, *spatial)` or `(batch, *spatial, 1)`, softmax).
        class_weights: One weight per channel, not negative; region losses average classes by them, pixel losses pixels.
            Only their ratios matter.
        ignore_index: Label value of pixels that count in no loss and get no gradient.
        dtype: In which the loss is computed, whatever the model's dtype.
        **options: Options of the named losses; each goes to every term that has it. Options in the text come first.

    Returns:
        A `keras.losses.Loss` of `(labels, logits)`. Per sample: a mean over valid pixels or classes, 0 without any.

    Raises:
        ValueError: for an unknown name, task or option, with the nearest right one.
    """
    return SegmentationLoss(spec, task, class_weights, ignore_index, options, dtype=dtype)


@keras.saving.register_keras_serializable("maskzoo")
class SegmentationLoss(keras.losses.Loss):
    """A weighted sum of registered losses of labels and logits; `build_loss` makes it and describes its arguments.

    Attributes:
        terms: The names of the terms, as written.
        weights: A variable per term; assigning to it changes a compiled loss.
    """

    def __init__(
        self,
        spec,
        task="binary",
        class_weights=None,
        ignore_index=None,
        options=None,
        reduction="sum_over_batch_size",
        name=None,
        dtype="float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if task not in TASKS:
            raise ValueError(f"task: expected one of {', '.join(TASKS)}; received {task!r}{nearest(str(task), TASKS)}")
        if class_weights is not None:
            class_weights = [float(weight) for weight in class_weights]
            if min(class_weights, default=0) < 0 or not sum(class_weights) > 0:
                raise ValueError(f"class_weights: expected numbers >= 0, not all 0; received {class_weights}")
        self.spec, self.task, self.class_weights, self.ignore_index = spec, task, class_weights, ignore_index
        self.options = dict(options or {})
        parsed = _parse(spec, task, self.options)
        self.terms = [text for text, _, _ in parsed]
        self._functions = [function for _, _, function in parsed]
        self.weights = [keras.Variable(w, dtype=self.dtype, trainable=False, name="loss_weight") for _, w, _ in parsed]

    def call(self, y_true, y_pred):
        y_true, y_pred = (ops.cast(ops.convert_to_tensor(y), self.dtype) for y in (y_true, y_pred))
        target = prepare(y_true, y_pred, self.task, self.class_weights, self.ignore_index)
        return sum(weight * function(target) for weight, function in zip(self.weights, self._functions, strict=True))

    def get_config(self):
        return {
            **super().get_config(),
            "spec": self.spec,
            "task": self.task,
            "class_weights": self.class_weights,
            "ignore_index": self.ignore_index,
            "options": self.options,
            "dtype": self.dtype,
        }


@register_loss("binary", "multilabel")
def combo(target, *, alpha=0.5, beta=0.5, smooth=1.0):
    """Combo loss `alpha * weighted BCE - (1 - alpha) * Dice`; its minimum is `alpha - 1`, below 0.

    Args:
        alpha: Share of the cross-entropy.
        beta: Weight of the positive pixels in it, negative ones having `1 - beta`.
        smooth: As in `dice`.

    Source: Taghanaki et al., "Combo Loss: Handling Input and Output Imbalance in Multi-Organ Segmentation",
    Computerized Medical Imaging and Graphics 2019, equation 3.
    """
    distance = dice_distance(target.labels, target.probabilities * target.valid, target, smooth, False, False)
    return alpha * weighted_bce(target, positive_weight=beta) - (1 - alpha) * class_mean(1 - distance, target)


def _parse(spec, task, options):
    """Reads a sum into `(text, weight, function of a target)` per term."""
    try:
        leaves = list(_leaves(ast.parse(spec.strip(), mode="eval").body))
        accepted = set()
        terms = [(ast.unparse(leaf), weight, _bind(leaf, task, options, accepted)) for leaf, weight in leaves]
    except (SyntaxError, AttributeError):
        raise ValueError(
            f"loss: expected names and weighted sums such as '0.5*bce+0.5*dice(smooth=1)'; received {spec!r}"
        ) from None
    texts = [text for text, _, _ in terms]
    if len(set(texts)) < len(texts):
        raise ValueError(f"loss: expected each term once; received {spec!r}")
    for name in options:
        _check_option(spec, name, accepted)
    return terms


def _leaves(node, weight=1.0):
    """Yields each term of a sum with the product of the numbers before it."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            yield from _leaves(left, weight)
            yield from _leaves(right, weight)
        case ast.BinOp(ast.Constant(float() | int() as factor), ast.Mult(), right):
            yield from _leaves(right, weight * factor)
        case ast.Name() | ast.Call():
            yield node, weight
        case _:
            raise SyntaxError


def _bind(leaf, task, options, accepted):
    """Turns one term into a function of a target and adds the names of its options to `accepted`."""
    match leaf:
        case ast.Call(ast.Name("nonempty"), [inner], []):
            parts = [(weight, _bind(part, task, options, accepted)) for part, weight in _leaves(inner)]
            return lambda target: sum(weight * part(nonempty(target)) for weight, part in parts)
        case ast.Name(name):
            own = {}
        case ast.Call(ast.Name(name), [], keywords):
            try:
                own = {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords}
            except ValueError:
                raise SyntaxError from None
        case _:
            raise SyntaxError
    function = find_loss(name, task)
    known = defaults(function)
    for option in own:
        _check_option(name, option, known)
    accepted.update(known)
    chosen = {option: value for option, value in options.items() if option in known} | own
    for option, value in chosen.items():
        # For example YAML reads 1e-5 as text.
        kind = type(known[option]) if isinstance(known[option], bool | str) else numbers.Real
        if value is not known[option] and not (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
            raise ValueError(f"loss {name}: expected {option} like {known[option]!r}; received {value!r}")
    return functools.partial(function, **chosen)


def _check_option(loss, name, names):
    if name not in names:
        known = ", ".join(sorted(names)) or "no option"
        raise ValueError(f"loss {loss}: expected {known}; received option {name!r}{nearest(str(name), names)}")
