"""The package against JAX, live: tasks, loss, gradients, H w, and the hypergradient."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import taskmet
import taskmet.jax

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
from problems import cost, make_trainer

RHO, RIDGE = 0.05, 0.1


def test_a_jax_task_trains_as_the_numpy_one_does():
    @taskmet.jax.task
    def task(predictions, batch):
        assert predictions.dtype == jnp.float64
        return jnp.mean(jnp.where(batch.inputs > 0.5, predictions - batch.targets, 0.0) ** 2)

    by_hand = make_trainer(cost, outer_iterations=30).fit().history_["task_loss"]
    assert np.allclose(make_trainer(task, outer_iterations=30).fit().history_["task_loss"], by_hand, rtol=1e-8)
    # The program's own precision is left alone.
    assert jnp.ones(1).dtype == jnp.float32


@pytest.fixture(params=[4, 5, 6])
def problem(request):
    """(objects of the package, loss(theta, phi), predict(theta), theta, phi, generator)."""
    with jax.enable_x64(True):
        generator = np.random.default_rng(request.param)
        x, y = generator.standard_normal((15, 3)), generator.standard_normal((15, 2))
        predictor = taskmet.MLP(3, 2, [4], "gelu", seed=request.param)
        metric = taskmet.Metric.constant(2, "lowrank", rank=1, seed=request.param)
        objects = (predictor, metric, taskmet.Dataset(x, y))

        def predict(theta):
            hidden = jax.nn.gelu(x @ theta[:12].reshape(4, 3).T + theta[12:16], approximate=False)
            return hidden @ theta[16:24].reshape(2, 4).T + theta[24:]

        def loss(theta, phi):
            error, factor = predict(theta) - y, phi[:-1].reshape(2, 1)
            matrix = factor @ factor.T + jnp.exp(phi[-1]) * jnp.eye(2)
            return jnp.mean(jnp.einsum("ij,jk,ik->i", error, matrix, error)) + RHO / 2 * theta @ theta

        yield objects, loss, predict, jnp.asarray(predictor.parameters), jnp.asarray(metric.parameters), generator


def assert_close(actual, expected, relative=1e-9):
    assert np.max(np.abs(actual - np.asarray(expected))) <= relative * np.max(np.abs(expected))


def test_loss_gradient_and_product(problem):
    objects, loss, _, theta, phi, generator = problem
    w = generator.standard_normal(len(theta))
    assert_close(taskmet.loss_value(*objects, RHO), loss(theta, phi))
    assert_close(taskmet.loss_gradient(*objects, RHO), jax.grad(loss)(theta, phi))
    assert_close(taskmet.loss_hvp(*objects, w, RHO), jax.hessian(loss)(theta, phi) @ w)


def test_hypergradient(problem):
    objects, loss, predict, theta, phi, generator = problem
    c = generator.standard_normal((15, 2))
    g = jax.vjp(predict, theta)[1](jnp.asarray(c))[0]
    v = jnp.linalg.solve(jax.hessian(loss)(theta, phi) + RIDGE * jnp.eye(len(theta)), g)
    expected = -jax.grad(lambda p: jax.grad(loss)(theta, p) @ v)(phi)
    assert_close(taskmet.hypergradient(*objects, c, RHO, solver="dense", ridge=RIDGE)[0], expected, 1e-8)
