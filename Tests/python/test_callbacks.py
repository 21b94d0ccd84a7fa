"""Python functions that the library calls: exceptions, Ctrl-C, threads, fork, lifetime."""

import gc
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref

import numpy as np
import pytest
import taskmet
from problems import X, Y, cost, make_trainer


class Custom(Exception):
    pass


def failing_at(call, exception):
    """The cost, which raises at its nth call."""
    calls = 0

    def task(batch):
        nonlocal calls
        calls += 1
        if calls == call:
            raise exception
        return cost(batch)

    return task


# ----------------------------------------------------------------------------------------------------------------------
# Exceptions


@pytest.mark.parametrize(
    "exception", [Custom("a"), KeyboardInterrupt(), SystemExit(3), GeneratorExit(), StopIteration()]
)
def test_a_task_s_exception_comes_out_of_fit(exception):
    trainer = make_trainer(failing_at(5, exception), outer_iterations=20)
    with pytest.raises(type(exception)) as caught:
        trainer.fit()
    assert caught.value is exception
    assert "task" in [frame.name for frame in traceback.extract_tb(exception.__traceback__)]
    assert exception.__context__ is None
    # As it was before the iteration that failed, and usable.
    assert len(trainer.records) == 4
    assert trainer.fit().report_.reason == "iterations"
    reference = make_trainer(outer_iterations=20).fit()
    assert np.array_equal(trainer.history_["task_loss"], reference.history_["task_loss"])


def test_an_exception_leaves_no_cycle():
    """What it refers to is freed at once, not by the next garbage collection."""

    def task(batch):
        raise Custom

    trainer = make_trainer(task)
    gc.collect()
    gc.disable()
    try:
        trainer.step()
    except Custom as exception:
        reference = weakref.ref(exception)
    finally:
        gc.enable()
    assert reference() is None


@pytest.mark.parametrize("where", ["callback", "log"])
def test_a_listener_s_exception_comes_out_of_fit(where):
    def listen(*_):
        raise Custom(where)

    # A constant metric under a linear predictor cannot learn: the library says so, in its log.
    metric, data = taskmet.Metric.constant(1, "scalar"), taskmet.Dataset(X, Y)
    trainer = taskmet.Trainer(taskmet.Linear(1), metric, data, cost, outer_iterations=5)
    trainer.log = listen if where == "log" else None
    with pytest.raises(Custom):
        trainer.fit(callback=listen if where == "callback" else None)
    assert trainer.records == []
    trainer.log = None
    assert trainer.fit().report_.iterations == 5


def test_stop_and_reject():
    trainer = make_trainer(failing_at(5, taskmet.Stop()))
    assert trainer.fit().report_.reason == "task"
    stopped = make_trainer()

    def enough(record):
        if record.iteration == 3:
            raise taskmet.Stop

    assert stopped.fit(callback=enough).report_.reason == "progress"
    assert stopped.records[-1].iteration == 3
    rejecting = make_trainer(failing_at(5, taskmet.Reject()), outer_iterations=10).fit()
    assert rejecting.report_.rejections == 1
    with pytest.raises(taskmet.RejectedError):
        make_trainer(failing_at(1, taskmet.Reject())).fit()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((1.0, np.zeros((101, 2))), ValueError, r"gradient must have shape \(101, 1\), got \(101, 2\)"),
        ((1.0, np.zeros((101, 1), dtype=complex)), TypeError, "gradient must hold real numbers"),
        ((1.0, "text"), TypeError, "gradient must hold real numbers"),
        (1.0, TypeError, "must return"),
        ((None, np.zeros((101, 1))), TypeError, "loss"),
        (([1.0, 2.0], np.zeros((101, 1))), ValueError, "loss must have shape"),
        ((np.nan, np.zeros((101, 1))), taskmet.CallbackError, "loss must be finite"),
        ((1.0, np.full((101, 1), np.inf)), taskmet.CallbackError, "must be finite"),
    ],
)
def test_wrong_answers_are_named(answer, error, message):
    with pytest.raises(error, match=message):
        make_trainer(lambda batch: answer).step()


def test_wrong_dtypes_and_orders_are_converted():
    def task(batch):
        loss, gradient = cost(batch)
        return np.float32(loss), np.asfortranarray(gradient.astype(">f8"))

    expected = make_trainer(outer_iterations=3).fit().history_["hypergradient_norm"]
    assert np.array_equal(make_trainer(task, outer_iterations=3).fit().history_["hypergradient_norm"][1:], expected[1:])


def test_nested_fits():
    """A task that trains another model, whose task fails, in the end with its own exception."""

    def task(batch):
        make_trainer(outer_iterations=2).fit()
        return cost(batch)

    trainer = make_trainer(task, outer_iterations=2)
    trainer.fit()
    assert len(trainer.records) == 3

    def failing(batch):
        make_trainer(failing_at(2, Custom("inner"))).fit()

    with pytest.raises(Custom, match="inner"):
        make_trainer(failing).fit()


def test_the_trainer_is_busy_in_its_own_callback():
    trainer = make_trainer(lambda batch: trainer.step())
    with pytest.raises(taskmet.BusyError):
        trainer.fit()


def test_a_batch_can_be_kept_but_not_looked_at_later():
    kept = []

    def task(batch):
        kept.append((batch, batch.predictions))
        return cost(batch)

    make_trainer(task, outer_iterations=2).fit()
    assert all(predictions.shape == (101, 1) for _, predictions in kept)
    assert not np.array_equal(kept[0][1], kept[-1][1])
    with pytest.raises(ValueError, match="was not looked at"):
        _ = kept[0][0].offsets


# ----------------------------------------------------------------------------------------------------------------------
# Ctrl-C


@pytest.fixture(autouse=True)
def interrupts_arrive():
    """Ctrl-C raises KeyboardInterrupt here and in child processes, also where a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


INTERRUPTED = """
import os, signal, sys, threading, time
sys.path.insert(0, {directory!r})
import numpy as np
import taskmet
x = np.random.default_rng(1).standard_normal((20000, 8))
data = taskmet.Dataset(x, np.sin(x).sum(axis=1))
metric = taskmet.Metric.conditional(8, 1, "scalar", hidden=[32])
def task(batch):
    {body}
    error = batch.predictions - batch.targets
    return np.mean(error**2), 2 * error / error.size
trainer = taskmet.Trainer(taskmet.MLP(8, 1, [64]), metric, data, task, warmup_iterations=10**6, inner_tolerance=0.0)
def interrupt():
    global sent
    time.sleep(0.5)
    sent = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
{setup}
before = signal.getsignal(signal.SIGINT)
try:
    trainer.fit()
except KeyboardInterrupt:
    print("interrupted after", time.monotonic() - sent)
assert signal.getsignal(signal.SIGINT) is before
"""


def run_interrupted(body="pass", setup=""):
    script = INTERRUPTED.format(directory=str(pathlib.Path(__file__).parent), body=body, setup=setup)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "ignored" not in result.stderr
    return float(result.stdout.split()[-1])


def test_ctrl_c_in_native_code():
    """The warm-up alone would take minutes, and no Python function runs in it."""
    assert run_interrupted() < 1.0


def test_ctrl_c_in_a_call_that_asks_nobody():
    """Not lost: it is delivered when the call returns."""
    rows = np.random.default_rng(0).standard_normal((4000, 20))
    arguments = (taskmet.MLP(20, 1, [64]), taskmet.Metric.constant(1, "scalar"), taskmet.Dataset(rows, rows[:, :1]))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        taskmet.minimize(*arguments, solver="adam", max_iterations=2000, gradient_tolerance=0.0)
    timer.join()


def test_ctrl_c_in_the_task():
    setup = "trainer.options['warmup_iterations'] = 1"
    assert run_interrupted("time.sleep(20)", setup) < 1.0


def test_ctrl_c_reaches_the_program_s_own_handler():
    """A handler that does not raise is called, once, and the fit goes on."""
    script = """
import os, signal, threading, time
from problems import make_trainer, cost
calls = []
signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
def task(batch):
    if len(calls) == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return cost(batch)
trainer = make_trainer(task, outer_iterations=5)
assert trainer.fit().report_.reason == "iterations"
assert calls == [signal.SIGINT], calls
"""
    path = os.pathsep.join([str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=os.environ | {"PYTHONPATH": path})


def test_every_signal_is_delivered_wherever_it_comes():
    """Ctrl-C at random times, in native code, in the wrappers and in the task: each ends the fit, none is lost."""
    before = signal.getsignal(signal.SIGINT)
    generator = np.random.default_rng(3)
    trainer = make_trainer(outer_iterations=10**6, patience=0)
    for _ in range(30):
        timer = threading.Timer(generator.uniform(0.001, 0.03), os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            trainer.fit()
        timer.join()
    assert signal.getsignal(signal.SIGINT) is before


# ----------------------------------------------------------------------------------------------------------------------
# Threads, fork, lifetime


def test_fits_in_threads():
    """Each gets its own result and its own exception."""
    expected = make_trainer(outer_iterations=10).fit().history_["task_loss"]
    results = {}

    def run(index):
        exception = Custom(index)
        task = failing_at(5, exception) if index % 2 else cost
        try:
            results[index] = make_trainer(task, outer_iterations=10).fit().history_["task_loss"]
        except Custom as raised:
            results[index] = raised is exception

    threads = [threading.Thread(target=run, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[index] for index in (1, 3, 5)] == [True] * 3
    assert all(np.array_equal(results[index], expected) for index in (0, 2, 4))


def test_stop_from_another_thread():
    trainer = make_trainer(outer_iterations=10**7, patience=0)
    timer = threading.Timer(0.1, trainer.stop)
    timer.start()
    assert trainer.fit().report_.reason == "requested"
    timer.join()
    trainer.clear_stop()


def test_native_code_runs_without_the_gil():
    """Another thread goes on while the library computes for seconds."""
    rows = np.random.default_rng(0).standard_normal((4000, 20))
    data, metric = taskmet.Dataset(rows, rows[:, :1]), taskmet.Metric.constant(1, "scalar")
    ticks, running = [], True

    def tick():
        while running:
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    options = {"solver": "adam", "max_iterations": 4000, "gradient_tolerance": 0.0}
    taskmet.minimize(taskmet.MLP(20, 1, [64]), metric, data, **options)
    seconds = time.monotonic() - start
    running = False
    thread.join()
    longest = np.max(np.diff(ticks), initial=0.0)
    assert longest < 0.5 * seconds


def test_fork_after_use():
    trainer = make_trainer(outer_iterations=3).fit()
    child = os.fork()
    if child == 0:
        good = False
        try:
            again = make_trainer(outer_iterations=3).fit()
            good = np.array_equal(again.history_["task_loss"], trainer.history_["task_loss"])
        finally:
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_owners_keep_callbacks_alive():
    """The trainer is all that is left of task, predictor, metric and data."""
    trainer = make_trainer(lambda batch: cost(batch), outer_iterations=3)
    gc.collect()
    trainer.fit()
    assert len(trainer.records) == 4


def test_a_cycle_through_the_task_is_collected():
    """An object whose method is the task of its own trainer."""

    class Experiment:
        def __init__(self):
            self.trainer = make_trainer(self.cost, outer_iterations=2)

        def cost(self, batch):
            return cost(batch)

    experiment = Experiment()
    experiment.trainer.fit()
    reference = weakref.ref(experiment)
    del experiment
    gc.collect()
    assert reference() is None


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_after_1000_fits():
    def fit_and_drop(count):
        for _ in range(count):
            rows = np.ones((200, 20)) * np.arange(200)[:, np.newaxis]
            metric = taskmet.Metric.conditional(20, 1, "scalar", hidden=[4], seed=1)
            data = taskmet.Dataset(rows / 200, rows[:, 0] / 100)
            trainer = taskmet.Trainer(taskmet.Linear(20), metric, data, cost_of_all, outer_iterations=1)
            trainer.fit()
        gc.collect()

    fit_and_drop(200)
    before = resident_bytes()
    fit_and_drop(1000)
    # A fit holds 64 kB of data: if one in ten leaked, this would be 6 MB.
    assert resident_bytes() - before < 4e6


def cost_of_all(batch):
    error = batch.predictions - batch.targets
    return np.mean(error**2), 2 * error / error.size
