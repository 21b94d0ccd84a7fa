"""Trajectories of CartPole, computed from the equations of motion rather than from their solved form.

A cart of 1 kg and a uniform pole of 0.1 kg and half-length 0.5 m (moment of inertia 4/3 m l^2 about the pivot), without friction:

    (M + m) x'' + m l cos(t) t''    = F + m l t'^2 sin(t)
    m l cos(t) x'' + 4/3 m l^2 t''  = m g l sin(t)

solved for x'', t'' as a 2 x 2 system at each step, then one explicit Euler step of 0.02 s. Each line of
cartpole_trajectories.csv is: trajectory, step, action that led here (-1 at the start), the four coordinates, and whether the
pole has fallen (12 degrees) or the cart has left (2.4 m). Run in this directory: python3 make_cartpole_trajectories.py
"""

import random
from math import cos, radians, sin

CART, POLE, HALF, FORCE, GRAVITY, DT = 1.0, 0.1, 0.5, 10.0, 9.8, 0.02


def accelerations(angle, angular_velocity, force):
    a, b = CART + POLE, POLE * HALF * cos(angle)
    c, d = b, 4 / 3 * POLE * HALF**2
    e = force + POLE * HALF * angular_velocity**2 * sin(angle)
    f = POLE * GRAVITY * HALF * sin(angle)
    determinant = a * d - b * c
    return (e * d - b * f) / determinant, (a * f - c * e) / determinant


def step(state, action):
    x, v, t, w = state
    linear, angular = accelerations(t, w, FORCE if action == 1 else -FORCE)
    return (x + DT * v, v + DT * linear, t + DT * w, w + DT * angular)


def failed(state):
    return abs(state[0]) > 2.4 or abs(state[2]) > radians(12)


def policy(kind, state, generator):
    """Random pushes, always right, and one that keeps the pole up, so that the cart leaves the track."""
    if kind == 0:
        return generator.randrange(2)
    if kind == 1:
        return 1
    return 1 if 10 * (state[2] - 0.1) + 3 * state[3] > 0 else 0


def main():
    generator = random.Random(5)
    with open("cartpole_trajectories.csv", "w") as out:
        for trajectory in range(9):
            state = tuple(generator.uniform(-0.05, 0.05) for _ in range(4))
            action = -1
            for count in range(200):
                out.write(f"{trajectory},{count},{action},{','.join(map(repr, state))},{int(failed(state))}\n")
                if failed(state):
                    break
                action = policy(trajectory % 3, state, generator)
                state = step(state, action)


if __name__ == "__main__":
    main()
