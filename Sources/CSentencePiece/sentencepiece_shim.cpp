#include "sentencepiece_shim.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <new>
#include <string>
#include <vector>

struct espalier_sentencepiece {
    sentencepiece::SentencePieceProcessor processor;
};

espalier_sentencepiece *espalier_sentencepiece_load(const uint8_t *model, size_t count) {
    espalier_sentencepiece *result = nullptr;
    try {
        result = new espalier_sentencepiece;
        const auto status =
            result->processor.LoadFromSerializedProto({reinterpret_cast<const char *>(model), count});
        if (status.ok() && result->processor.status().ok()) return result;
    } catch (...) {
    }
    delete result;
    return nullptr;
}

void espalier_sentencepiece_free(espalier_sentencepiece *processor) { delete processor; }

int espalier_sentencepiece_encode(const espalier_sentencepiece *processor, const char *text, size_t count,
                                  void *context, void (*sink)(void *, const int32_t *, size_t)) {
    static_assert(sizeof(int) == sizeof(int32_t), "ids are handed over as they are");
    try {
        std::vector<int> ids;
        if (!processor->processor.Encode({text, count}, &ids).ok()) return 0;
        sink(context, ids.data(), ids.size());
        return 1;
    } catch (...) {
        return 0;
    }
}

int espalier_sentencepiece_decode(const espalier_sentencepiece *processor, const int32_t *ids, size_t count,
                                  void *context, void (*sink)(void *, const char *, size_t)) {
    try {
        std::string text;
        if (!processor->processor.Decode(std::vector<int>(ids, ids + count), &text).ok()) return 0;
        sink(context, text.data(), text.size());
        return 1;
    } catch (...) {
        return 0;
    }
}
