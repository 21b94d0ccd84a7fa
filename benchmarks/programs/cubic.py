"""The cubic problem from start to result in PyTorch, by the recipe of cubic.c beside it: as a careful user writes it.

    python cubic.py DATA SEED

All instances of a batch at once, the metric once for each outer iteration, the softened choice by the scalar root that
entropic transport to two anchors comes down to, its derivative in closed form.
"""

import json
import math
import os
import sys
import time

START = time.perf_counter()
import numpy as np
import torch
from torch import nn

ITEMS, TRAINING, TEST, MOST_ITERATIONS = 50, 200, 400, 1000
WARM_UP, INNER_STEPS, INNER_BATCH, OUTER_BATCH = 500, 100, 10, 50
INNER_RATE, METRIC_RATE, CLIP, SMALL_GRADIENT = 0.1, 1e-3, 1.0, 1e-3
SOLVER_ITERATIONS, NORMAL_RIDGE, EPSILON = 5, 1e-5, 0.01


def read(path):
    """((x, y) to train on, (x, y) of the test), instances x items each."""
    numbers, parts, at = torch.from_numpy(np.fromfile(path)), [], 0
    for instances in (TRAINING, TEST):
        size = instances * ITEMS
        parts.append(tuple(numbers[at + k * size : at + (k + 1) * size].reshape(instances, ITEMS) for k in (0, 1)))
        at += 2 * size
    return parts


class Metric(nn.Module):
    """Lambda(x) = l(x)^2 + exp(s), close to 1 at the start."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(1, 200), nn.ReLU(), nn.Linear(200, 1))
        nn.init.normal_(self.network[2].weight, std=0.01)
        nn.init.constant_(self.network[2].bias, math.sqrt(0.9))
        self.s = nn.Parameter(torch.tensor(math.log(0.1)))

    def forward(self, x):
        """One weight for each entry of x."""
        return self.network(x.unsqueeze(-1)).squeeze(-1) ** 2 + torch.exp(self.s)


def soft_choice_gradient(scores, y):
    """d(-mean worth of what is taken) / d scores; the largest cost counts as a constant."""
    largest = ((scores**2).maximum((scores - 1) ** 2)).amax(1, keepdim=True)
    temperature = EPSILON * largest / 2
    low, high = scores.amin(1, keepdim=True) - 40 * temperature, scores.amax(1, keepdim=True) + 40 * temperature
    for _ in range(60):
        middle = (low + high) / 2
        too_many = torch.sigmoid((scores - middle) / temperature).sum(1, keepdim=True) > 1
        low, high = torch.where(too_many, middle, low), torch.where(too_many, high, middle)
    taken = torch.sigmoid((scores - (low + high) / 2) / temperature)
    slope = taken * (1 - taken)
    mean = (slope * y).sum(1, keepdim=True) / slope.sum(1, keepdim=True).clamp_min(1e-300)
    return -slope * (y - mean) / temperature / len(scores)


def choose(count, generator):
    """Random instances."""
    return torch.randperm(TRAINING, generator=generator)[:count]


def loss(theta, x, y, weights):
    """The prediction loss: the mean over rows."""
    return (weights * (theta[0] * x + theta[1] - y) ** 2).mean()


def inner_steps(theta, optimizer, x, y, weights, steps, generator):
    """Adam on batches of instances, until the gradient is small."""
    for _ in range(steps):
        batch = choose(INNER_BATCH, generator)
        optimizer.zero_grad(set_to_none=True)
        loss(theta, x[batch], y[batch], weights[batch]).backward()
        if nn.utils.clip_grad_norm_([theta], CLIP) <= SMALL_GRADIENT:
            break
        optimizer.step()


def normal_cg(product, g):
    """(H H + ridge) v = H g by a few conjugate gradients."""
    v, r = torch.zeros_like(g), product(g)
    p, rr = r, r @ r
    for _ in range(SOLVER_ITERATIONS):
        if rr <= 1e-30:
            break
        q = product(product(p)) + NORMAL_RIDGE * p
        step = rr / (p @ q)
        v, r = v + step * p, r - step * q
        rr, before = r @ r, rr
        p = r + (rr / before) * p
    return v


def hypergradient(theta, metric, x, y, generator):
    """dL_task/dphi as a list of tensors."""
    judged = choose(OUTER_BATCH, generator)
    with torch.no_grad():
        c = soft_choice_gradient(theta[0] * x[judged] + theta[1], y[judged])
        g = torch.stack([(c * x[judged]).sum(), c.sum()])
    batch = choose(INNER_BATCH, generator)
    slope = torch.autograd.grad(loss(theta, x[batch], y[batch], metric(x[batch])), theta, create_graph=True)[0]
    v = normal_cg(lambda w: torch.autograd.grad(slope, theta, w, retain_graph=True)[0], g)
    return [-part for part in torch.autograd.grad(slope, list(metric.parameters()), v)]


def decision_quality(theta, x, y, generator):
    """1 for the best choices, 0 for random ones."""
    reached = y.gather(1, (theta[0] * x + theta[1]).argmax(1, keepdim=True)).mean()
    chance = torch.stack(
        [y.gather(1, torch.rand(x.shape, generator=generator).argmax(1, keepdim=True)).mean() for _ in range(10)]
    ).mean()
    return ((reached - chance) / (y.amax(1).mean() - chance)).item()


def main():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(int(sys.argv[2]))
    generator = torch.Generator().manual_seed(int(sys.argv[2]))
    loaded = time.perf_counter()
    (x, y), test = read(sys.argv[1])
    theta, metric = torch.zeros(2, requires_grad=True), Metric()
    inner = torch.optim.Adam([theta], lr=INNER_RATE, fused=True)
    outer = torch.optim.Adam(metric.parameters(), lr=METRIC_RATE, fused=True)

    def train(steps):
        with torch.no_grad():
            weights = metric(x)
        inner_steps(theta, inner, x, y, weights, steps, generator)

    train(WARM_UP)
    iterations = 0
    while theta[0] <= 0 and iterations < MOST_ITERATIONS:
        for parameter, part in zip(metric.parameters(), hypergradient(theta, metric, x, y, generator), strict=True):
            parameter.grad = part
        outer.step()
        train(INNER_STEPS)
        iterations += 1
    with torch.no_grad():
        quality = decision_quality(theta, *test, generator)
    now = time.perf_counter()
    result = {"iterations": iterations, "slope": theta[0].item(), "quality": quality}
    print(json.dumps(result | {"loading_seconds": loaded - START, "work_seconds": now - loaded}))


if __name__ == "__main__":
    main()
