"""PyTorch: tasks whose gradient comes from autograd, and weights that move between its modules and the library's
predictors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from taskmet.batches import ConvertedBatch, TaskBatch
from taskmet.models import MLP, Linear, Predictor
from taskmet.tasks import CallbackTask


class TorchTask(CallbackTask):
    """What `task` makes."""

    def _evaluate(self, batch: TaskBatch) -> tuple[Any, Any]:
        predictions = torch.from_numpy(batch.predictions).requires_grad_(batch.needs_gradient)
        with torch.set_grad_enabled(batch.needs_gradient):
            loss = self.function(predictions, ConvertedBatch(batch, torch.from_numpy))
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise TypeError(f"the task must return a tensor with one number, got {loss!r}")
        if not batch.needs_gradient:
            return loss.item(), None
        if not loss.requires_grad:
            raise ValueError("the task's loss does not depend on the predictions: is something detached?")
        (gradient,) = torch.autograd.grad(loss.reshape(()), predictions)
        return loss.item(), gradient.numpy()


def task(function: Callable[[torch.Tensor, Any], torch.Tensor]) -> TorchTask:
    """A task from a PyTorch function of predictions; a decorator, too.

    Parameters
    ----------
    function : function
        ``function(predictions, batch)`` returns the mean loss over the batch's instances, a tensor with one number.
        ``predictions`` is a float64 tensor of rows x outputs; ``batch`` is a `TaskBatch` whose targets, inputs and
        context are tensors. In phase validation no gradient is taken.

    Examples
    --------
    >>> import taskmet, taskmet.torch
    >>> @taskmet.torch.task
    ... def absolute_error(predictions, batch):
    ...     return (predictions - batch.targets).abs().mean()
    >>> absolute_error.gradient(taskmet.Dataset([[0.0], [1.0]], [1.0, 2.0]), [[2.0], [4.0]])
    (1.5, array([[0.5],
           [0.5]]))
    """
    return TorchTask(function)


# ----------------------------------------------------------------------------------------------------------------------
# Weights

_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    # The library's is smooth throughout; PyTorch's is linear above its threshold.
    "softplus": lambda: nn.Softplus(threshold=700),
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
# What the library's activations fix.
_CONSTANTS: dict[type[nn.Module], tuple[str, dict[str, Any]]] = {
    nn.ReLU: ("relu", {}),
    nn.LeakyReLU: ("leaky_relu", {"negative_slope": 0.01}),
    nn.Tanh: ("tanh", {}),
    nn.Sigmoid: ("sigmoid", {}),
    nn.Softplus: ("softplus", {"beta": 1}),
    nn.ELU: ("elu", {"alpha": 1.0}),
    nn.GELU: ("gelu", {"approximate": "none"}),
    nn.SiLU: ("silu", {}),
    nn.Identity: ("identity", {}),
}


def from_torch(module: nn.Module) -> Predictor:
    """A predictor with a module's weights: `nn.Linear`, or `nn.Sequential` of those and one kind of activation
    between them.

    Softplus is PyTorch's to 2e-9 above its threshold of 20, all others to rounding.
    """
    layers, activations = _layers(module)
    if len(layers) == 1 and activations == ["identity"]:
        only = layers[0]
        line = Linear(only.in_features, only.out_features, bias=only.bias is not None)
        line.parameters = _flat(layers, all_biases=False)
        return line
    hidden = set(activations[:-1]) or {"identity"}
    if len(hidden) > 1:
        raise ValueError(f"the hidden layers must have one activation, got {', '.join(activations[:-1])}")
    sizes = [layer.out_features for layer in layers]
    network = MLP(layers[0].in_features, sizes[-1], sizes[:-1], hidden.pop(), activations[-1])
    network.parameters = _flat(layers, all_biases=True)
    return network


def _layers(module: nn.Module) -> tuple[list[nn.Linear], list[str]]:
    """The linear layers, and the activation after each."""
    layers: list[nn.Linear] = []
    activations: list[str] = []
    for part in module if isinstance(module, nn.Sequential) else [module]:
        if isinstance(part, nn.Linear):
            layers.append(part)
            activations.append("identity")
        elif layers and activations[-1] == "identity":
            activations[-1] = _activation(part)
        else:
            raise ValueError(f"a linear layer must come before {part}")
    if not layers:
        raise ValueError(f"{module} has no linear layer")
    return layers, activations


def _activation(part: nn.Module) -> str:
    name, constants = _CONSTANTS.get(type(part), (None, {}))
    if name is None:
        raise ValueError(f"the library has no layer like {part}")
    for constant, value in constants.items():
        if getattr(part, constant) != value:
            raise ValueError(f"{part}: the library's {name} has {constant} {value}")
    return name


def _flat(layers: list[nn.Linear], all_biases: bool) -> np.ndarray:
    parts = []
    for layer in layers:
        parts.append(layer.weight.detach().cpu().double().numpy().ravel())
        if layer.bias is not None:
            parts.append(layer.bias.detach().cpu().double().numpy())
        elif all_biases:
            parts.append(np.zeros(layer.out_features))
    return np.concatenate(parts)


def to_torch(predictor: Predictor) -> nn.Sequential:
    """A float64 module that predicts the same; standardisation goes into the first layer, and into one more at the end.

    Examples
    --------
    >>> import taskmet, taskmet.torch
    >>> taskmet.torch.to_torch(taskmet.MLP(3, 1, [8], "tanh"))
    Sequential(
      (0): Linear(in_features=3, out_features=8, bias=True)
      (1): Tanh()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    """
    tensors, metadata = predictor._file
    count = sum(name.endswith(".weight") for name in tensors)
    weights = [tensors[f"layers.{k}.weight"] for k in range(count)]
    biases = [tensors.get(f"layers.{k}.bias", np.zeros(len(weights[k]))) for k in range(count)]
    if "input_standardization.mean" in tensors:
        mean, scale = (tensors[f"input_standardization.{name}"] for name in ("mean", "scale"))
        weights[0] = weights[0] / scale
        biases[0] = biases[0] - weights[0] @ mean
    activations = [metadata["activation"]] * (count - 1) + [metadata["output_activation"]]
    if "target_standardization.mean" in tensors:
        mean, scale = (tensors[f"target_standardization.{name}"] for name in ("mean", "scale"))
        weights.append(np.diag(scale))
        biases.append(mean)
        activations.append("identity")
    return _sequential(weights, biases, activations)


def _sequential(weights: list[np.ndarray], biases: list[np.ndarray], activations: list[str]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias, activation in zip(weights, biases, activations, strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.array(weight)))
            layer.bias.copy_(torch.from_numpy(np.array(bias)))
        modules += [layer] if activation == "identity" else [layer, _MODULES[activation]()]
    return nn.Sequential(*modules)
