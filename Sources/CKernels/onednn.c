#include "onednn.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gemm_cut.h"

#if defined(__x86_64__)
#include <cpuid.h>

int ek_has_amx_bf16(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
}
#else
int ek_has_amx_bf16(void) { return 0; }
#endif

// The part of oneDNN's C interface that a product needs, declared here because nothing of it is there when this is
// built. Objects are opaque; version 2 lets the caller hold descriptors, for which there is more room than they take.
typedef int status;  // 0: success
typedef void *object;
typedef struct {
    alignas(16) unsigned char bytes[4096];
} descriptor_space;
typedef struct {
    int argument;
    object memory;
} argument;
typedef struct {
    int major, minor, patch;
    const char *hash;
    unsigned cpu_runtime, gpu_runtime;
} version;

enum { CPU = 1, BF16 = 2, F32 = 3, STREAM_IN_ORDER = 1, SOURCE = 1, DESTINATION = 17, WEIGHTS = 33, MOST_DIMENSIONS = 12 };

/// Functions of both versions, in the order of `names`, then those of one.
static struct {
    const version *(*version)(void);
    status (*engine_create)(object *, int kind, size_t index);
    status (*stream_create)(object *, object engine, unsigned flags);
    status (*stream_destroy)(object);
    status (*stream_wait)(object);
    status (*attr_create)(object *);
    status (*attr_destroy)(object);
    status (*attr_set_post_ops)(object, object);
    status (*post_ops_create)(object *);
    status (*post_ops_destroy)(object);
    status (*primitive_create)(object *, object descriptor);
    status (*primitive_destroy)(object);
    status (*primitive_desc_destroy)(object);
    status (*primitive_execute)(object, object stream, int count, const argument *);
    status (*memory_create)(object *, const void *descriptor, object engine, void *handle);
    status (*memory_destroy)(object);
    status (*memory_set_data_handle)(object, void *handle);
    // Version 2
    status (*memory_desc_init)(descriptor_space *, int, const int64_t *, int type, const int64_t *strides);
    status (*matmul_desc_init)(descriptor_space *, const void *, const void *, const void *, const void *);
    status (*primitive_desc_create)(object *, const void *, object attr, object engine, object hint);
    status (*append_sum_2)(object, float scale);
    // Version 3
    status (*memory_desc_create)(object *, int, const int64_t *, int type, const int64_t *strides);
    status (*memory_desc_destroy)(object);
    status (*matmul_desc_create)(object *, object engine, const void *, const void *, const void *, const void *, object);
    status (*append_sum_3)(object, float scale, int32_t zero_point, int type);
} dnnl;

static const char *const names[] = {
    "dnnl_version", "dnnl_engine_create", "dnnl_stream_create", "dnnl_stream_destroy", "dnnl_stream_wait",
    "dnnl_primitive_attr_create", "dnnl_primitive_attr_destroy", "dnnl_primitive_attr_set_post_ops",
    "dnnl_post_ops_create", "dnnl_post_ops_destroy", "dnnl_primitive_create", "dnnl_primitive_destroy",
    "dnnl_primitive_desc_destroy", "dnnl_primitive_execute", "dnnl_memory_create", "dnnl_memory_destroy",
    "dnnl_memory_set_data_handle",
};
static const char *const names_2[] = {
    "dnnl_memory_desc_init_by_strides", "dnnl_matmul_desc_init", "dnnl_primitive_desc_create",
    "dnnl_post_ops_append_sum",
};
static const char *const names_3[] = {
    "dnnl_memory_desc_create_with_strides", "dnnl_memory_desc_destroy", "dnnl_matmul_primitive_desc_create",
    "dnnl_post_ops_append_sum",
};
enum { COUNT = sizeof names / sizeof *names, COUNT_2 = sizeof names_2 / sizeof *names_2,
       COUNT_3 = sizeof names_3 / sizeof *names_3 };
_Static_assert(sizeof dnnl == sizeof(void *) * (COUNT + COUNT_2 + COUNT_3), "a name for every function");

static const version *found;
static object engine;
static void (*set_openmp_threads)(int);
static const ek_gemm_kernels *own;
static char message[160] = "not looked for";

/// What makes a product's code and memory descriptors: primitives are reused for all items of the same key.
typedef struct {
    ptrdiff_t m, n, k, left_stride, right_stride, c_stride;
    int64_t is_transposed, accumulate;
} product_key;

typedef struct {
    product_key key;
    object primitive, left, right, c;
} product_entry;

/// A thread's own primitives, because the library's scratch space belongs to the thread that has made one.
enum { ENTRIES = 128 };
typedef struct {
    object stream;
    product_entry entries[ENTRIES];
} thread_state;

static pthread_key_t state_key;

static void destroy_entry(product_entry *entry) {
    if (entry->primitive) dnnl.primitive_destroy(entry->primitive);
    if (entry->left) dnnl.memory_destroy(entry->left);
    if (entry->right) dnnl.memory_destroy(entry->right);
    if (entry->c) dnnl.memory_destroy(entry->c);
    memset(entry, 0, sizeof *entry);
}

static void destroy_state(void *pointer) {
    thread_state *state = pointer;
    for (int i = 0; i < ENTRIES; i++) destroy_entry(&state->entries[i]);
    if (state->stream) dnnl.stream_destroy(state->stream);
    free(state);
}

static thread_state *current_state(void) {
    thread_state *state = pthread_getspecific(state_key);
    if (state) return state;
    state = calloc(1, sizeof *state);
    if (!state || dnnl.stream_create(&state->stream, engine, STREAM_IN_ORDER) != 0 ||
        pthread_setspecific(state_key, state) != 0) {
        if (state) destroy_state(state);
        return NULL;
    }
    // The threads are ours: the library must not start its own in each of them.
    if (set_openmp_threads) set_openmp_threads(1);
    return state;
}

/// A matrix's descriptor: `space` in version 2, an object of the library's in version 3.
static const void *describe(descriptor_space *space, ptrdiff_t rows, ptrdiff_t columns, int type, ptrdiff_t row_stride,
                            ptrdiff_t column_stride) {
    int64_t sizes[MOST_DIMENSIONS] = {rows, columns}, strides[MOST_DIMENSIONS] = {row_stride, column_stride};
    if (found->major == 2) return dnnl.memory_desc_init(space, 2, sizes, type, strides) == 0 ? space : NULL;
    object made = NULL;
    return dnnl.memory_desc_create(&made, 2, sizes, type, strides) == 0 ? made : NULL;
}

static void forget_description(const void *description) {
    if (found->major == 3 && description) dnnl.memory_desc_destroy((object)description);
}

static object describe_product(const void *left, const void *right, const void *c, int accumulate) {
    object attributes = NULL, after = NULL, description = NULL;
    int good = dnnl.attr_create(&attributes) == 0 && dnnl.post_ops_create(&after) == 0;
    if (good && accumulate) {
        good = (found->major == 2 ? dnnl.append_sum_2(after, 1) : dnnl.append_sum_3(after, 1, 0, 0)) == 0 &&
               dnnl.attr_set_post_ops(attributes, after) == 0;
    }
    if (good && found->major == 2) {
        descriptor_space product;
        good = dnnl.matmul_desc_init(&product, left, right, NULL, c) == 0 &&
               dnnl.primitive_desc_create(&description, &product, attributes, engine, NULL) == 0;
    } else if (good) {
        good = dnnl.matmul_desc_create(&description, engine, left, right, NULL, c, attributes) == 0;
    }
    if (after) dnnl.post_ops_destroy(after);
    if (attributes) dnnl.attr_destroy(attributes);
    return good ? description : NULL;
}

static int make_entry(product_entry *entry, const product_key *key) {
    descriptor_space spaces[3];
    const void *left = describe(&spaces[0], key->m, key->k, BF16, key->left_stride, 1);
    const void *right = describe(&spaces[1], key->k, key->n, BF16, key->is_transposed ? 1 : key->right_stride,
                                 key->is_transposed ? key->right_stride : 1);
    const void *c = describe(&spaces[2], key->m, key->n, F32, key->c_stride, 1);
    object description = left && right && c ? describe_product(left, right, c, (int)key->accumulate) : NULL;
    int good = description && dnnl.primitive_create(&entry->primitive, description) == 0 &&
               dnnl.memory_create(&entry->left, left, engine, NULL) == 0 &&
               dnnl.memory_create(&entry->right, right, engine, NULL) == 0 &&
               dnnl.memory_create(&entry->c, c, engine, NULL) == 0;
    if (description) dnnl.primitive_desc_destroy(description);
    forget_description(left), forget_description(right), forget_description(c);
    if (good) entry->key = *key;
    else destroy_entry(entry);
    return good;
}

static product_entry *entry_for(thread_state *state, const product_key *key) {
    const uint64_t *words = (const uint64_t *)key;
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof *key / sizeof *words; i++) hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15u;
    product_entry *entry = &state->entries[hash >> 57];
    if (entry->primitive && memcmp(&entry->key, key, sizeof *key) == 0) return entry;
    destroy_entry(entry);
    return make_entry(entry, key) ? entry : NULL;
}
_Static_assert(ENTRIES == 1 << (64 - 57), "an entry for each of a hash's first bits");

static float widened(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/// For what the library cannot do, such as when its memory has run out.
static void multiply_plainly(const product_key *key, const uint16_t *left, const uint16_t *right, float *c) {
    ptrdiff_t along = key->is_transposed ? 1 : key->right_stride, across = key->is_transposed ? key->right_stride : 1;
    for (ptrdiff_t i = 0; i < key->m; i++) {
        for (ptrdiff_t j = 0; j < key->n; j++) {
            float sum = key->accumulate ? c[i * key->c_stride + j] : 0;
            for (ptrdiff_t p = 0; p < key->k; p++)
                sum += widened(left[i * key->left_stride + p]) * widened(right[p * along + j * across]);
            c[i * key->c_stride + j] = sum;
        }
    }
}

static void multiply_block(const product_key *key, const uint16_t *left, const uint16_t *right, float *c) {
    thread_state *state = current_state();
    product_entry *entry = state ? entry_for(state, key) : NULL;
    if (entry && dnnl.memory_set_data_handle(entry->left, (void *)left) == 0 &&
        dnnl.memory_set_data_handle(entry->right, (void *)right) == 0 &&
        dnnl.memory_set_data_handle(entry->c, c) == 0) {
        const argument arguments[] = {{SOURCE, entry->left}, {WEIGHTS, entry->right}, {DESTINATION, entry->c}};
        if (dnnl.primitive_execute(entry->primitive, state->stream, 3, arguments) == 0 &&
            dnnl.stream_wait(state->stream) == 0) return;
    }
    multiply_plainly(key, left, right, c);
}

// The library packs R itself for every item, so items are larger than those of our own kernels.
enum { ROWS_PER_ITEM = 512, COLUMNS_PER_ITEM = 512 };

static ek_gemm_cut cut_of(const ek_gemm_product *product) {
    ek_gemm_cut cut = {.depth_pieces = 1};
    cut.row_pieces = pieces_of(product->rows, ROWS_PER_ITEM);
    cut.column_pieces = pieces_of(product->columns, COLUMNS_PER_ITEM);
    if (cut.row_pieces * cut.column_pieces % 2 == 1 && product->columns > 1) cut.column_pieces++;
    ptrdiff_t deepest = 0;
    for (int f = 0; f < product->factor_count; f++) {
        if (product->factors[f].is_f32 && product->factors[f].depth > deepest) deepest = product->factors[f].depth;
    }
    cut.scratch_bytes = (size_t)((deepest + 1) * pieces_of(product->columns, cut.column_pieces) * 2);
    return cut;
}

static void round_rows(uint16_t *to, ptrdiff_t to_stride, const float *from, ptrdiff_t from_stride, ptrdiff_t rows,
                       ptrdiff_t width) {
    void (*round)(uint16_t *, const float *, ptrdiff_t) = ek_kernels_for(EK_ISA_AVX512)->f32_to_bf16;
    for (ptrdiff_t r = 0; r < rows; r++) round(to + r * to_stride, from + r * from_stride, width);
}

static void multiply(const ek_gemm_product *product, const ek_gemm_cut *cut, ptrdiff_t item, void *scratch) {
    range rows = piece(item % cut->row_pieces, cut->row_pieces, product->rows);
    range columns = piece(item / cut->row_pieces, cut->column_pieces, product->columns);
    ptrdiff_t word = 0;
    for (int f = 0; f < product->factor_count; f++) {
        const ek_gemm_factor *factor = &product->factors[f];
        product_key key = {
            .m = rows.end - rows.start, .n = columns.end - columns.start, .k = factor->depth,
            .left_stride = 2 * product->left_words, .right_stride = factor->stride, .c_stride = product->ldc,
            .is_transposed = factor->is_transposed, .accumulate = product->accumulate || f > 0,
        };
        ptrdiff_t first = columns.start * (factor->is_transposed ? factor->stride : 1);
        const uint16_t *right = (const uint16_t *)factor->values + first;
        if (factor->is_f32) {
            ptrdiff_t width = factor->is_transposed ? key.k : key.n;
            round_rows(scratch, width, (const float *)factor->values + first, factor->stride,
                       factor->is_transposed ? key.n : key.k, width);
            right = scratch;
            key.right_stride = width;
        }
        multiply_block(&key, (const uint16_t *)(product->left + rows.start * product->left_words + word), right,
                       product->c + rows.start * product->ldc + columns.start);
        word += ek_gemm_words(EK_GEMM_BF16, factor->depth);
    }
}

/// Rows one after the other, each `words` pairs long.
static void pack_left(uint32_t *packed, ptrdiff_t words, ptrdiff_t first, const float *values, ptrdiff_t stride,
                      int is_transposed, ptrdiff_t rows, ptrdiff_t depth, float scale, ptrdiff_t tile) {
    enum { CHUNK = 256 };
    range own_rows = piece(tile, ek_gemm_tiles(rows), rows);
    float line[CHUNK];
    for (ptrdiff_t k = 0; k < depth; k += CHUNK) {
        ptrdiff_t count = depth - k < CHUNK ? depth - k : CHUNK;
        for (ptrdiff_t r = own_rows.start; r < own_rows.end; r++) {
            uint16_t *out = (uint16_t *)(packed + r * words + first) + k;
            const float *from = values + (is_transposed ? k * stride + r : r * stride + k);
            ptrdiff_t step = is_transposed ? stride : 1;
            for (ptrdiff_t i = 0; i < count; i++) line[i] = scale * from[i * step];
            round_rows(out, 0, line, 0, 1, count);
        }
    }
}

static ek_gemm_kernels kernels = {
    .precision = EK_GEMM_BF16, .left_step = 1, .cut = cut_of, .pack_left = pack_left, .multiply = multiply,
};

/// Fills the functions from `index` on by name; returns whether all are there.
static int find_functions(void *library, int index, const char *const *wanted, int count) {
    void **functions = (void **)&dnnl;
    for (int i = 0; i < count; i++) {
        functions[index + i] = dlsym(library, wanted[i]);
        if (!functions[index + i]) {
            snprintf(message, sizeof message, "the library has no %s", wanted[i]);
            return 0;
        }
    }
    return 1;
}

static int load(void) {
    own = ek_isa_available(EK_ISA_AVX512_BF16) ? ek_gemm_kernels_for(EK_ISA_AVX512_BF16, EK_GEMM_BF16) : NULL;
    if (!own) return snprintf(message, sizeof message, "this processor has no bf16 products"), 0;
    void *library = dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) return snprintf(message, sizeof message, "neither libdnnl.so.3 nor libdnnl.so.2 is installed"), 0;
    if (!find_functions(library, 0, names, COUNT)) return 0;
    found = dnnl.version();
    if (found->major != 2 && found->major != 3)
        return snprintf(message, sizeof message, "version %d is not known", found->major), 0;
    int is_2 = found->major == 2;
    if (!find_functions(library, is_2 ? COUNT : COUNT + COUNT_2, is_2 ? names_2 : names_3, is_2 ? COUNT_2 : COUNT_3))
        return 0;
    *(void **)&set_openmp_threads = dlsym(library, "omp_set_num_threads");
    if (dnnl.engine_create(&engine, CPU, 0) != 0 || pthread_key_create(&state_key, destroy_state) != 0)
        return snprintf(message, sizeof message, "the library makes no engine for this processor"), 0;
    kernels.pack_rows = own->pack_rows;
    kernels.multiply_rows = own->multiply_rows;
    snprintf(message, sizeof message, "%d.%d.%d", found->major, found->minor, found->patch);
    return 1;
}

static int is_loaded;
static void load_once(void) { is_loaded = load(); }

const ek_gemm_kernels *ek_onednn_kernels(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_once);
    return is_loaded ? &kernels : NULL;
}

const char *ek_onednn_status(void) {
    ek_onednn_kernels();
    return message;
}
