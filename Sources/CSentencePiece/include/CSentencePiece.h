#ifndef ESPALIER_CSENTENCEPIECE_H
#define ESPALIER_CSENTENCEPIECE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A SentencePiece model at work. It does not change once it is open, so threads may share it. */
typedef struct es_sentencepiece es_sentencepiece;

/* Opens a serialised ModelProto. NULL if the library refuses it; `message` then holds its reason, cut to `capacity`
   bytes with the zero at its end. The library trusts parts of a model: check it beforehand. */
es_sentencepiece *es_sentencepiece_open(const void *model, size_t count, char *message, size_t capacity);
void es_sentencepiece_close(es_sentencepiece *model);

/* The ids of UTF-8 text, in memory that the caller frees with free(). Returns how many there are, or -1 if the library
   fails. */
int64_t es_sentencepiece_encode(const es_sentencepiece *model, const void *text, size_t count, int32_t **ids);

/* The text of ids, all of them the model's, in memory that the caller frees with free(). Returns its length in bytes,
   or -1 if the library fails. */
int64_t es_sentencepiece_decode(const es_sentencepiece *model, const int32_t *ids, size_t count, uint8_t **text);

#ifdef __cplusplus
}
#endif
#endif
