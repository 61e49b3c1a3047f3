"""llama.cpp's speed on a GGUF file, as one line of JSON: a prompt of random tokens, and single tokens after a short one.

Needs llama-cpp-requirements.txt. The fastest of several runs counts, as in `espalier bench decoding`.
"""

import argparse
import json
import random
import time


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def decode(model, tokens):
    for token in tokens:
        model.eval([token])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()

    import llama_cpp

    model = llama_cpp.Llama(
        arguments.model, n_ctx=max(arguments.prompt_tokens, arguments.tokens + 16), n_batch=arguments.prompt_tokens,
        n_threads=arguments.threads, n_threads_batch=arguments.threads, verbose=False)
    draw = random.Random(7)
    prompt = [draw.randrange(model.n_vocab()) for _ in range(max(arguments.prompt_tokens, arguments.tokens))]
    reading, decoding = [], []
    for _ in range(arguments.runs):
        model.reset()
        reading.append(seconds(lambda: model.eval(prompt[: arguments.prompt_tokens])))
        model.reset()
        model.eval(prompt[:16])
        decoding.append(seconds(lambda: decode(model, prompt[: arguments.tokens])))
    print(json.dumps({
        "name": "llama.cpp", "version": llama_cpp.__version__, "threads": arguments.threads,
        "prompt_tokens_per_second": arguments.prompt_tokens / min(reading),
        "tokens_per_second": arguments.tokens / min(decoding),
    }))


if __name__ == "__main__":
    main()
