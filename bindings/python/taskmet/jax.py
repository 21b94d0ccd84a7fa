"""JAX: tasks whose gradient comes from automatic differentiation, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taskmet.batches import ConvertedBatch, TaskBatch
from taskmet.tasks import CallbackTask


class JAXTask(CallbackTask):
    """What `task` makes."""

    def _evaluate(self, batch: TaskBatch) -> tuple[Any, Any]:
        with _float64():
            converted = ConvertedBatch(batch, jnp.asarray)
            predictions = jnp.asarray(batch.predictions)
            if not batch.needs_gradient:
                return float(self.function(predictions, converted)), None
            loss, gradient = jax.value_and_grad(lambda p: self.function(p, converted))(predictions)
            return float(loss), np.asarray(gradient)


def _float64() -> Any:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # where older versions have it

    return enable_x64()


def task(function: Callable[[jax.Array, Any], jax.Array]) -> JAXTask:
    """A task from a JAX function of predictions; a decorator, too.

    Parameters
    ----------
    function : function
        ``function(predictions, batch)`` returns the mean loss over the batch's instances, a scalar. ``predictions``
        is a float64 array of rows x outputs; ``batch`` is a `TaskBatch` whose targets, inputs and context are JAX
        arrays. It may call functions under `jax.jit`.

    Examples
    --------
    >>> import jax.numpy as jnp, taskmet, taskmet.jax
    >>> @taskmet.jax.task
    ... def absolute_error(predictions, batch):
    ...     return jnp.abs(predictions - batch.targets).mean()
    >>> absolute_error.gradient(taskmet.Dataset([[0.0], [1.0]], [1.0, 2.0]), [[2.0], [4.0]])
    (1.5, array([[0.5],
           [0.5]]))
    """
    return JAXTask(function)
