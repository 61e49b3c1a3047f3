#pragma once
#include <zlib.h>

/* A macro that Swift does not see: begins to read a gzip member. */
static inline int compression_gzip_begin(z_stream *stream) { return inflateInit2(stream, 15 + 16); }
