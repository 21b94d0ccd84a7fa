// The one place that names the BLAS and LAPACK headers.
#include <cblas.h>
#include <lapacke.h>
