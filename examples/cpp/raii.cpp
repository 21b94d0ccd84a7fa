/*
 * libtaskmet from C++17: handles that free themselves, statuses that become exceptions, and a task that is any function
 * object, and may throw.
 *
 * The problem: an airport has one runway. A small network forecasts the wind, two numbers, but a landing only feels the part
 * that blows across the runway. The library is never told which direction that is; it learns a 2 x 2 metric from the cost of
 * landings, and the metric shows it.
 */
#include <taskmet.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// ---------------------------------------------------------------------------------------------------------------------
// The wrappers: what a program of your own would take from here

namespace taskmet {

/// A call that failed: the library's message, and its status.
class Error : public std::runtime_error {
public:
    explicit Error(taskmet_status status) : std::runtime_error(taskmet_last_error()), status_(status) {}
    taskmet_status status() const noexcept { return status_; }

private:
    taskmet_status status_;
};

/// What a callback threw, on its way through the library, which knows no exceptions: callbacks run on the thread that called
/// the library, so it is thrown again on the same thread.
inline thread_local std::exception_ptr pending;

inline void check(taskmet_status status) {
    std::exception_ptr thrown = std::exchange(pending, nullptr);
    if (status == TASKMET_OK) return;
    if (thrown) std::rethrow_exception(thrown);
    throw Error(status);
}

/// Calls what must not throw; keeps the exception, and says what the library is to be told.
template <class Function> int32_t guarded(Function &&function) noexcept {
    try {
        return std::forward<Function>(function)();
    } catch (...) {
        pending = std::current_exception();
        return TASKMET_CALLBACK_ERROR;
    }
}

template <auto destroy> struct Destroyer {
    template <class Handle> void operator()(Handle *handle) const noexcept { destroy(handle); }
};

using Dataset = std::unique_ptr<taskmet_dataset, Destroyer<taskmet_dataset_destroy>>;
using Predictor = std::unique_ptr<taskmet_predictor, Destroyer<taskmet_predictor_destroy>>;
using Metric = std::unique_ptr<taskmet_metric, Destroyer<taskmet_metric_destroy>>;
using Task = std::unique_ptr<taskmet_task, Destroyer<taskmet_task_destroy>>;
using TrainerHandle = std::unique_ptr<taskmet_trainer, Destroyer<taskmet_trainer_destroy>>;

/// make<Predictor>(taskmet_predictor_create_linear, inputs, outputs, bias): every _create and _copy hands its handle out
/// last.
template <class Owner, class Create, class... Arguments> Owner make(Create create, Arguments... arguments) {
    typename Owner::pointer handle = nullptr;
    check(create(arguments..., &handle));
    return Owner(handle);
}

/// Returns the loss of a batch, and fills in its gradient by the predictions unless that is null.
using TaskFunction = std::function<double(const taskmet_task_batch &batch, double *gradient)>;
/// Returns whether to go on.
using ProgressFunction = std::function<bool(const taskmet_record &record)>;

extern "C" {
static int32_t call_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    return guarded([&]() -> int32_t {
        *loss = (*static_cast<const TaskFunction *>(user))(*batch, gradient);
        return TASKMET_CALLBACK_OK;
    });
}

static void free_task(void *user) { delete static_cast<TaskFunction *>(user); }

static int32_t call_progress(void *user, const taskmet_record *record) {
    return guarded([&]() -> int32_t {
        return (*static_cast<const ProgressFunction *>(user))(*record) ? TASKMET_CALLBACK_OK : TASKMET_CALLBACK_STOP;
    });
}
}

/// A task made of a function, which lives as long as the library needs it.
inline Task make_task(TaskFunction function) {
    auto owned = std::make_unique<TaskFunction>(std::move(function));
    Task task = make<Task>(taskmet_task_create_callback, call_task, static_cast<void *>(owned.get()), free_task);
    owned.release(); // only now: free_task is not called for a task that could not be made
    return task;
}

class Trainer {
public:
    Trainer(const Predictor &predictor, const Metric &metric, const Dataset &dataset)
        : handle_(make<TrainerHandle>(taskmet_trainer_create, predictor.get(), metric.get(), dataset.get())) {}

    void add_task(const Task &task, double weight = 1) {
        check(taskmet_trainer_add_task(handle_.get(), task.get(), weight));
    }
    void set_validation(const Dataset &dataset) {
        check(taskmet_trainer_set_validation(handle_.get(), dataset.get()));
    }
    void set(const char *option, int value) { check(taskmet_trainer_set_int(handle_.get(), option, value)); }
    void set(const char *option, double value) { check(taskmet_trainer_set_double(handle_.get(), option, value)); }
    void set(const char *option, const char *value) { check(taskmet_trainer_set_string(handle_.get(), option, value)); }

    void set_progress(ProgressFunction function) {
        auto owned = std::make_unique<ProgressFunction>(std::move(function)); // at one address, also when the trainer moves
        check(taskmet_trainer_set_progress(handle_.get(), call_progress, owned.get()));
        progress_ = std::move(owned);
    }

    taskmet_fit_report fit() {
        taskmet_fit_report report{};
        report.struct_size = sizeof report;
        check(taskmet_trainer_fit(handle_.get(), &report));
        return report;
    }

    Predictor predictor(taskmet_model model = TASKMET_MODEL_BEST) const {
        return make<Predictor>(taskmet_trainer_copy_predictor, handle_.get(), model);
    }
    Metric metric(taskmet_model model = TASKMET_MODEL_BEST) const {
        return make<Metric>(taskmet_trainer_copy_metric, handle_.get(), model);
    }
    std::string explanation() const {
        int64_t size = 0;
        check(taskmet_trainer_explain(handle_.get(), nullptr, 0, &size));
        std::string text(static_cast<std::size_t>(size), '\0');
        check(taskmet_trainer_explain(handle_.get(), text.data(), size, nullptr));
        text.pop_back(); // the terminator, which a std::string has of its own
        return text;
    }

private:
    std::unique_ptr<ProgressFunction> progress_; // outlives the handle, which is destroyed first
    TrainerHandle handle_;
};

} // namespace taskmet

// ---------------------------------------------------------------------------------------------------------------------
// The problem

namespace {

constexpr double pi = 3.14159265358979323846;
constexpr double runway_heading = 30; // degrees, clockwise from north

/// Winds, in knots, over the time of the day and the pressure (both from -1 to 1): more than three hidden units can follow.
taskmet::Dataset make_winds(unsigned seed, int64_t rows) {
    std::mt19937_64 bits(seed);
    auto uniform = [&] { return 2 * static_cast<double>(bits() >> 11) / 9007199254740992.0 - 1; }; // the same everywhere
    std::vector<double> x, y;
    for (int64_t i = 0; i < rows; i++) {
        double time = uniform(), pressure = uniform();
        x.insert(x.end(), {time, pressure});
        y.push_back(9 * std::sin(4 * time) + 6 * time * pressure + uniform());
        y.push_back(8 * std::cos(3 * time + 2 * pressure) - 7 * pressure * pressure + uniform());
    }
    return taskmet::make<taskmet::Dataset>(taskmet_dataset_create, rows, int64_t{2}, x.data(), int64_t{2}, int64_t{2},
                                           y.data(), int64_t{2});
}

/// The mean square of the error across a runway. Along it the wind is no matter.
taskmet::Task make_landing_task(double heading) {
    // the part of a wind (east, north) that blows across
    const double east = std::cos(heading * pi / 180), north = -std::sin(heading * pi / 180);
    return taskmet::make_task([east, north](const taskmet_task_batch &batch, double *gradient) {
        double sum = 0, rows = static_cast<double>(batch.rows);
        for (int64_t i = 0; i < batch.rows; i++) {
            const double *forecast = batch.predictions + 2 * i, *wind = batch.targets + 2 * i;
            double error = east * (forecast[0] - wind[0]) + north * (forecast[1] - wind[1]);
            sum += error * error;
            if (gradient == nullptr) continue;
            gradient[2 * i] = 2 * error * east / rows;
            gradient[2 * i + 1] = 2 * error * north / rows;
        }
        return sum / rows;
    });
}

/// A trainer for a network of three hidden units under a constant 2 x 2 metric.
taskmet::Trainer make_trainer(const taskmet::Dataset &training, const taskmet::Task &task) {
    const int64_t hidden = 3;
    auto predictor = taskmet::make<taskmet::Predictor>(taskmet_predictor_create_mlp, int64_t{2}, int64_t{2}, int64_t{1},
                                                       &hidden, TASKMET_ACTIVATION_TANH, TASKMET_ACTIVATION_IDENTITY,
                                                       uint64_t{2});
    auto metric = taskmet::make<taskmet::Metric>(taskmet_metric_create_constant, int64_t{2}, TASKMET_STRUCTURE_FULL,
                                                 int64_t{1}, uint64_t{0});
    taskmet::Trainer trainer(predictor, metric, training); // keeps copies
    trainer.set("inner_solver", "lbfgs");
    trainer.set("metric_rate", 0.03);
    trainer.set("outer_iterations", 60);
    trainer.add_task(task);
    return trainer;
}

/// The direction in which the metric punishes errors most, in degrees clockwise from north, and by how much.
void print_metric(const taskmet::Metric &metric) {
    double m[4];
    taskmet::check(taskmet_metric_evaluate(metric.get(), 1, nullptr, 0, m, 4));
    double difference = std::hypot((m[0] - m[3]) / 2, m[1]), mean = (m[0] + m[3]) / 2;
    double from_east = std::atan2(2 * m[1], m[0] - m[3]) / 2 * 180 / pi; // counter-clockwise
    std::printf("the learned metric (east, north):  %7.3f %7.3f\n%35s%7.3f %7.3f\n", m[0], m[1], "", m[2], m[3]);
    std::printf("errors towards %.0f degrees count %.0f times as much as those at right angles; across the runway is %.0f "
                "degrees\n",
                90 - from_east, (mean + difference) / (mean - difference), 90 + runway_heading);
}

void learn() {
    auto training = make_winds(1, 200), validation = make_winds(2, 200), test = make_winds(3, 1000);
    auto task = make_landing_task(runway_heading);
    auto trainer = make_trainer(training, task);
    int64_t trusted = 0; // a callback may be a lambda with a memory
    trainer.set_validation(validation);
    trainer.set_progress([&](const taskmet_record &record) {
        trusted += record.iteration > 0 && record.trusted; // record 0 is the warm-up
        if (record.iteration % 10 == 0)
            std::printf("iteration %3lld: error across the runway %.3f knots, of the wind %.3f\n",
                        static_cast<long long>(record.iteration), std::sqrt(record.validation_task_loss),
                        record.validation_rmse * std::sqrt(2));
        return true;
    });
    auto report = trainer.fit();

    double loss = 0;
    auto predictor = trainer.predictor();
    taskmet::check(taskmet_task_evaluate(task.get(), predictor.get(), test.get(), &loss, nullptr, 0, nullptr, 0));
    std::printf("%lld iterations, %lld of their hypergradients trusted; on test days %.3f knots across the runway\n",
                static_cast<long long>(report.iterations), static_cast<long long>(trusted), std::sqrt(loss));
    print_metric(trainer.metric());
    std::printf("\n%s", trainer.explanation().c_str());
}

/// An exception thrown in a callback comes out of fit, past the library's own stack.
void fail() {
    auto training = make_winds(1, 200);
    auto task = taskmet::make_task([](const taskmet_task_batch &, double *) -> double {
        throw std::domain_error("the anemometer is gone");
    });
    auto trainer = make_trainer(training, task);
    try {
        trainer.fit();
    } catch (const std::domain_error &error) {
        std::printf("\nthrown in the task, caught after fit: %s\n", error.what());
    }
    try {
        trainer.set("outer_iterations", -1);
    } catch (const taskmet::Error &error) {
        std::printf("thrown for %s: %s\n", taskmet_status_name(error.status()), error.what());
    }
}

} // namespace

int main() {
    try {
        learn();
        fail();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    return 0;
}
