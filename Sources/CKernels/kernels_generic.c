// The kernels for any processor: vectors of four, which every 64-bit machine has.
#define EK_TABLE ek_kernels_generic
#define EK_NAME "generic"
#define EK_WIDTH 4
#define EK_ROWS 4
#define EK_COLUMNS 2
#include "body.h"
