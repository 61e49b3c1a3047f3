#include "CSentencePiece.h"

#include <sentencepiece_processor.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct es_sentencepiece {
    sentencepiece::SentencePieceProcessor processor;
};

namespace {

void copy_message(const char *text, char *message, size_t capacity) {
    if (capacity == 0) return;
    std::strncpy(message, text, capacity - 1);
    message[capacity - 1] = 0;
}

// Bytes that outlive the C++ object they were in; NULL if there is no memory.
template <typename T> T *copied(const T *source, size_t count) {
    T *copy = static_cast<T *>(std::malloc(count * sizeof(T) + 1));
    if (copy && count > 0) std::memcpy(copy, source, count * sizeof(T));
    return copy;
}

}  // namespace

// No exception may cross into Swift, which cannot unwind: the library throws when a trie cannot be built or memory ends.

es_sentencepiece *es_sentencepiece_open(const void *model, size_t count, char *message, size_t capacity) {
    try {
        auto result = std::make_unique<es_sentencepiece>();
        const std::string_view bytes(static_cast<const char *>(model), count);
        const auto status = result->processor.LoadFromSerializedProto(bytes);
        if (status.ok()) return result.release();
        copy_message(status.error_message(), message, capacity);
    } catch (const std::exception &error) {
        copy_message(error.what(), message, capacity);
    } catch (...) {
        copy_message("an unknown exception", message, capacity);
    }
    return nullptr;
}

void es_sentencepiece_close(es_sentencepiece *model) { delete model; }

int64_t es_sentencepiece_encode(const es_sentencepiece *model, const void *text, size_t count, int32_t **ids) {
    try {
        std::vector<int> result;
        const std::string_view bytes(static_cast<const char *>(text), count);
        if (!model->processor.Encode(bytes, &result).ok()) return -1;
        *ids = copied(result.data(), result.size());
        return *ids ? static_cast<int64_t>(result.size()) : -1;
    } catch (...) {
        return -1;
    }
}

int64_t es_sentencepiece_decode(const es_sentencepiece *model, const int32_t *ids, size_t count, uint8_t **text) {
    try {
        std::string result;
        if (!model->processor.Decode(std::vector<int>(ids, ids + count), &result).ok()) return -1;
        *text = copied(reinterpret_cast<const uint8_t *>(result.data()), result.size());
        return *text ? static_cast<int64_t>(result.size()) : -1;
    } catch (...) {
        return -1;
    }
}
