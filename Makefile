# What can be done here: `make help`. The steps themselves are scripts in .ci/scripts.

SWIFT ?= swift
SCRIPTS := .ci/scripts
# Tests run optimised: in a debug build the tokenizer, JSON and training tests take many times longer than their build.
# Their own folder, because -enable-testing would otherwise rebuild the release products back and forth.
TEST_FLAGS := -c release -Xswiftc -enable-testing --scratch-path .build-test

.DEFAULT_GOAL := help
.PHONY: help setup build test lint format quickstart fetch-base fetch-gemma interop references \
	compare scaling torture torture-short sanitize fuzz clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check Swift, install missing Debian packages (nothing if all are there)
	@$(SCRIPTS)/setup.sh

build: ## Build the command line: .build/release/espalier
	$(SWIFT) build -c release --product espalier

test: ## Build and run the whole test suite; FILTER=name runs a part
	$(SWIFT) build $(TEST_FLAGS) --build-tests
	$(SWIFT) test $(TEST_FLAGS) --skip-build $(if $(FILTER),--filter '$(FILTER)')

lint: ## Check the style of the Swift files
	$(SWIFT) format lint --strict -r Sources Tests Package.swift

format: ## Bring the Swift files into style
	$(SWIFT) format -i -r Sources Tests Package.swift

quickstart: ## Set up, build, fetch a small base model, train on it, compare; BASE=path uses a model you have
	@BASE='$(BASE)' $(SCRIPTS)/quickstart.sh

fetch-base: ## Fetch the quick start's base model into models/
	@$(SCRIPTS)/fetch-base.sh

fetch-gemma: ## Fetch Gemma 3 270M (Gemma Terms of Use, 253 MB) for ESPALIER_GEMMA3=models/gemma-3-270m/model.gguf make test
	@$(SCRIPTS)/fetch-gemma.sh

interop: ## Compare with PyTorch and PEFT, element by element (downloads them)
	@$(SCRIPTS)/interop.sh

references: ## Make the reference numbers of Tests/Fixtures that are our own again (downloads PyTorch and PEFT)
	@$(SCRIPTS)/python-environment.sh .venv-interop interop
	@HF_HUB_OFFLINE=1 .venv-interop/bin/python $(SCRIPTS)/references.py Tests/Fixtures

compare: ## Time the same work here and with PyTorch, PEFT, TRL and llama.cpp (an hour or two); ONLY=part RUNS=n FRESH=1
	@ONLY='$(ONLY)' RUNS='$(RUNS)' FRESH='$(FRESH)' MAX_STEPS='$(MAX_STEPS)' $(SCRIPTS)/compare.sh

scaling: build ## Measure a step on 128 to 8,192 tokens and draw it for the documentation (half an hour)
	@python3 $(SCRIPTS)/scaling.py

torture: build ## Kill a training run at any time and at every system call that writes (an hour); KILLS=n EVERY=n
	@python3 $(SCRIPTS)/torture.py $(if $(KILLS),--kills $(KILLS)) $(if $(EVERY),--every $(EVERY))

torture-short: ## A short form of it, with the program that `make test` has built (a minute)
	@python3 $(SCRIPTS)/torture.py --espalier .build-test/release/espalier --epochs 12 --kills 15 --every 25 --states 80 \
		--bits 20

sanitize: ## The whole test suite with the address sanitizer, then with the thread sanitizer (half an hour)
	ASAN_OPTIONS=detect_leaks=0 $(SWIFT) test --sanitize=address --scratch-path .build-asan
	TSAN_OPTIONS=halt_on_error=1 $(SWIFT) test --sanitize=thread --scratch-path .build-tsan

fuzz: ## Fuzz what reads files with libFuzzer and the address sanitizer; INPUT=kind SECONDS=n (all kinds, 60 s each)
	@INPUT='$(INPUT)' SECONDS_EACH='$(SECONDS)' $(SCRIPTS)/fuzz.sh

clean: ## Delete what was built; models/ and runs/ stay
	rm -rf .build .build-* .venv-interop
