#ifndef ESPALIER_SENTENCEPIECE_SHIM_H
#define ESPALIER_SENTENCEPIECE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// SentencePiece behind a C interface. No C++ exception leaves it. The library trusts its models, so the caller checks
// a model before it loads it. A loaded processor may be used by several threads at once.
typedef struct espalier_sentencepiece espalier_sentencepiece;

// A processor for a serialised ModelProto, or NULL if the library refuses it.
espalier_sentencepiece *_Nullable espalier_sentencepiece_load(const uint8_t *_Nonnull model, size_t count);
void espalier_sentencepiece_free(espalier_sentencepiece *_Nullable processor);

// Calls `sink` once with the ids of a UTF-8 text; false if the library fails.
int espalier_sentencepiece_encode(const espalier_sentencepiece *_Nonnull processor, const char *_Nullable text,
                                  size_t count, void *_Nullable context,
                                  void (*_Nonnull sink)(void *_Nullable, const int32_t *_Nullable, size_t));

// Calls `sink` once with the text of ids, each of which must be an id of the model; false if the library fails.
int espalier_sentencepiece_decode(const espalier_sentencepiece *_Nonnull processor, const int32_t *_Nullable ids,
                                  size_t count, void *_Nullable context,
                                  void (*_Nonnull sink)(void *_Nullable, const char *_Nullable, size_t));

#ifdef __cplusplus
}
#endif

#endif
