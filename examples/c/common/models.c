#include "models.h"

#include <math.h>

taskmet_predictor *new_linear_predictor(const table *training)
{
    taskmet_predictor *predictor;
    CHECK(taskmet_predictor_create_linear(training->features, training->outputs, 1, &predictor));
    CHECK(taskmet_predictor_set_penalize_bias(predictor, 0));
    return predictor;
}

taskmet_metric *new_identity(int64_t outputs)
{
    taskmet_metric *identity;
    CHECK(taskmet_metric_create_constant(outputs, TASKMET_STRUCTURE_SCALAR, 1, 0, &identity));
    return identity;
}

kept_model kept_under(double cap)
{
    kept_model kept = {cap, -1, INFINITY, INFINITY, NULL, NULL};
    return kept;
}

void keep_if_better(kept_model *kept, const iterate *now, const taskmet_predictor *predictor,
                    const taskmet_metric *metric)
{
    if (now->error_ratio > kept->cap || now->validation_loss > kept->validation_loss) return;
    if (now->validation_loss == kept->validation_loss && now->training_loss >= kept->training_loss) return;
    kept_destroy(kept);
    CHECK(taskmet_predictor_copy(predictor, &kept->predictor));
    CHECK(taskmet_metric_copy(metric, &kept->metric)); /* the normalisation's scale included */
    kept->iteration = now->iteration;
    kept->validation_loss = now->validation_loss;
    kept->training_loss = now->training_loss;
}

void kept_destroy(kept_model *kept)
{
    taskmet_predictor_destroy(kept->predictor);
    taskmet_metric_destroy(kept->metric);
    kept->predictor = NULL;
    kept->metric = NULL;
}
