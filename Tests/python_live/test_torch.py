"""The package against PyTorch, live: tasks through autograd, weights, loss, gradients, H w, and the hypergradient."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import taskmet
import taskmet.torch
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
from problems import X, Y, cost, make_trainer

RHO, RIDGE = 0.05, 0.1


def cost_in_torch(predictions, batch):
    error = torch.where(batch.inputs > 0.5, predictions - batch.targets, 0.0)
    return (error**2).mean()


class Custom(Exception):
    pass


# ----------------------------------------------------------------------------------------------------------------------
# Tasks


def test_a_torch_task_trains_as_the_numpy_one_does():
    by_hand = make_trainer(cost, outer_iterations=30).fit().history_["task_loss"]
    by_autograd = make_trainer(taskmet.torch.task(cost_in_torch), outer_iterations=30).fit().history_["task_loss"]
    assert np.allclose(by_autograd, by_hand, rtol=1e-8)


def test_torch_task_errors():
    dataset, predictions = taskmet.Dataset(X, Y), np.zeros((101, 1))

    def gradient(function):
        return taskmet.torch.task(function).gradient(dataset, predictions)

    with pytest.raises(ValueError, match="does not depend on the predictions"):
        gradient(lambda p, batch: p.detach().sum())
    with pytest.raises(TypeError, match="a tensor with one number"):
        gradient(lambda p, batch: p)
    with pytest.raises(TypeError, match="a tensor with one number"):
        gradient(lambda p, batch: 1.0)

    def failing(p, batch):
        raise Custom

    with pytest.raises(Custom):
        gradient(failing)


def soft_top_one(predictions, batch):
    """Minus the worth of what a softened choice of one item of each instance takes: the cubic problem's task in ten
    lines."""
    scores = predictions.reshape(batch.instance_count, -1)
    worth = batch.targets.reshape(batch.instance_count, -1)
    if batch.phase == "validation":
        return -worth.gather(1, scores.argmax(1, keepdim=True)).mean()
    z = 2 * scores.detach() / 0.01
    low, high = -z.max(1, keepdim=True).values - 10, -z.min(1, keepdim=True).values + 10
    for _ in range(100):
        middle = (low + high) / 2
        over = torch.sigmoid(z + middle).sum(1, keepdim=True) > 1
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    taken = torch.sigmoid(2 * scores / 0.01 + implicit_shift(2 * scores / 0.01, (low + high) / 2))
    return -(taken * worth).sum(1).mean()


def implicit_shift(z, shift):
    """The shift with which sum sigmoid(z + shift) = 1, and its derivative by the implicit function theorem: a Newton
    step."""
    taken = torch.sigmoid(z + shift)
    slope = (taken * (1 - taken)).sum(1, keepdim=True).detach()
    return shift - (taken.sum(1, keepdim=True) - 1) / slope


@pytest.mark.skipif("taskmet_task_create_topk" in taskmet._native.library.missing, reason="the library has no TopK")
def test_the_cubic_problem_by_torch_and_by_the_built_in_task():
    x = np.random.default_rng(0).uniform(-1, 1, (40 * 50, 1))
    data = taskmet.Dataset(x, 10 * x**3 - 6.5 * x, instances=range(0, 2001, 50))
    builtin, torch_task = taskmet.TopK(1, temperature=0.005), taskmet.torch.task(soft_top_one)
    predictions = np.random.default_rng(1).normal(0, 0.1, (2000, 1))
    assert taskmet.check_task_gradient(torch_task, data, predictions).correct
    expected, actual = builtin.gradient(data, predictions), torch_task.gradient(data, predictions)
    assert actual[0] == pytest.approx(expected[0], rel=1e-9)
    assert np.allclose(actual[1], expected[1], rtol=0, atol=1e-9 * np.abs(expected[1]).max())
    slopes, losses = [], []
    for task in (builtin, torch_task):
        metric = taskmet.Metric.conditional(1, 1, "scalar", hidden=[16], seed=1)
        with taskmet.Trainer(taskmet.Linear(1), metric, data, task, outer_iterations=20) as trainer:
            slopes.append(trainer.fit().predictor_.parameters[0])
            losses.append(trainer.report_.best_task_loss)
    assert slopes[0] > 0
    assert slopes[1] == pytest.approx(slopes[0], rel=1e-6)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_portfolio_by_cvxpylayers_and_by_the_built_in_task():
    """The example prints for each the two-stage loss and TaskMet's: the same, and lower."""
    example = Path(__file__).parents[2] / "bindings" / "python" / "examples" / "portfolio_cvxpylayers.py"
    command = [sys.executable, example, "--iterations", "8"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    layers, built_in = (re.findall(r"-?\d+\.\d{6}", line) for line in printed.splitlines()[1:])
    assert np.allclose(np.float64(layers), np.float64(built_in), rtol=0, atol=2e-6)
    assert float(layers[1]) < float(layers[0])


# ----------------------------------------------------------------------------------------------------------------------
# Weights

ACTIVATIONS = [nn.ReLU(), nn.LeakyReLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.GELU(), nn.SiLU(), nn.Softplus()]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda module: type(module).__name__)
@pytest.mark.parametrize("bias", [True, False])
def test_weights_there_and_back(activation, bias):
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Linear(3, 5), activation, nn.Linear(5, 4, bias=bias), activation, nn.Linear(4, 2)
    ).double()
    x = np.random.default_rng(1).standard_normal((20, 3))
    predictor = taskmet.torch.from_torch(module)
    expected = module(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(predictor.predict(x), expected, rtol=1e-12, atol=1e-12)
    back = taskmet.torch.to_torch(predictor)(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(back, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "predictor",
    [
        taskmet.Linear(3, 2),
        taskmet.Linear(3, 2, bias=False),
        taskmet.MLP(3, 2, [], output_activation="tanh"),
        taskmet.MLP(3, 2, [5], "softplus", output_activation="sigmoid", seed=2),
    ],
)
def test_standardisation_moves_along(predictor):
    generator = np.random.default_rng(4)
    x, y = generator.normal(3, 5, (20, 3)), generator.normal(-2, 0.1, (20, 2))
    predictor.parameters = predictor.parameters + generator.standard_normal(predictor.parameter_count)
    predictor.fit_standardization(taskmet.Dataset(x, y))
    module = taskmet.torch.to_torch(predictor)
    assert np.allclose(module(torch.from_numpy(x)).detach(), predictor.predict(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), "one activation"),
        (nn.Sequential(nn.Linear(2, 2), nn.ELU(alpha=2.0)), "alpha"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), "must come before"),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout()), "no layer like Dropout"),
        (nn.Conv1d(1, 1, 1), "must come before"),
    ],
)
def test_what_the_library_has_not_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        taskmet.torch.from_torch(module)


# ----------------------------------------------------------------------------------------------------------------------
# The mathematics, on random problems


class Problem:
    """A random problem in both: an MLP with a conditional full metric and weighted rows."""

    def __init__(self, seed):
        generator = np.random.default_rng(seed)
        self.rows, self.inputs, self.outputs = 15, 3, 2
        x, y = generator.standard_normal((15, 3)), generator.standard_normal((15, 2))
        weights = generator.uniform(0.5, 2.0, 15)
        self.c, self.w = generator.standard_normal((15, 2)), None
        self.predictor = taskmet.MLP(3, 2, [4], "tanh", seed=seed)
        self.metric = taskmet.Metric.conditional(3, 2, "full", hidden=[5], activation="softplus", seed=seed)
        self.metric.parameters = self.metric.parameters + 0.3 * generator.standard_normal(self.metric.parameter_count)
        self.w = generator.standard_normal(self.predictor.parameter_count)
        self.objects = (self.predictor, self.metric, taskmet.Dataset(x, y, weights=weights))
        self.x, self.y, self.weights = map(torch.from_numpy, (x, y, weights))
        self.theta = torch.from_numpy(self.predictor.parameters).requires_grad_()
        self.phi = torch.from_numpy(self.metric.parameters).requires_grad_()

    def network(self, parameters, sizes, activation):
        h, start = self.x, 0
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            weight = parameters[start : start + inputs * outputs].reshape(outputs, inputs)
            start += inputs * outputs
            h = (activation(h) if layer else h) @ weight.T + parameters[start : start + outputs]
            start += outputs
        return h

    def predict(self, theta):
        return self.network(theta, [3, 4, 2], torch.tanh)

    def loss(self, theta, phi):
        error = self.predict(theta) - self.y
        factor = self.network(phi[:-1], [3, 5, 4], nn.functional.softplus).reshape(-1, 2, 2)
        metric = factor @ factor.mT + phi[-1].exp() * torch.eye(2, dtype=torch.float64)
        return (self.weights * torch.einsum("ij,ijk,ik->i", error, metric, error)).mean() + RHO / 2 * theta @ theta

    def hessian(self):
        return torch.autograd.functional.hessian(lambda theta: self.loss(theta, self.phi.detach()), self.theta.detach())


@pytest.fixture(params=[1, 2, 3])
def problem(request):
    return Problem(request.param)


def assert_close(actual, expected, relative=1e-9):
    expected = np.asarray(expected.detach() if isinstance(expected, torch.Tensor) else expected)
    assert np.max(np.abs(actual - expected)) <= relative * np.max(np.abs(expected))


def test_loss_and_gradient(problem):
    loss = problem.loss(problem.theta, problem.phi)
    assert_close(taskmet.loss_value(*problem.objects, RHO), loss)
    assert_close(taskmet.loss_gradient(*problem.objects, RHO), torch.autograd.grad(loss, problem.theta)[0])


def test_hessian_vector_product(problem):
    expected = problem.hessian() @ torch.from_numpy(problem.w)
    assert_close(taskmet.loss_hvp(*problem.objects, problem.w, RHO), expected)


def test_hypergradient(problem):
    g = torch.autograd.grad((problem.predict(problem.theta) * torch.from_numpy(problem.c)).sum(), problem.theta)[0]
    v = torch.linalg.solve(problem.hessian() + RIDGE * torch.eye(len(g), dtype=torch.float64), g)
    slope = torch.autograd.grad(problem.loss(problem.theta, problem.phi), problem.theta, create_graph=True)[0]
    expected = -torch.autograd.grad(slope @ v, problem.phi)[0]
    actual, report = taskmet.hypergradient(*problem.objects, problem.c, RHO, solver="dense", ridge=RIDGE)
    assert_close(actual, expected, 1e-8)
    assert report.residual < 1e-12
