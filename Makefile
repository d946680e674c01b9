# Everything here needs Node >= 20 with npm, and make; the tests need Python 3 too. The rest is installed into this
# folder: node_modules with the Node that Chasqui itself runs on, and .venv for the tests.

BIN := node_modules/.bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
NODE := $(BIN)/node
SOURCES := {cli,crds,docs,examples,image,operator,relay,test}
INSTALLED := node_modules/.installed

.DEFAULT_GOAL := help
.PHONY: help install run test test-api e2e cluster cluster-down soak bench bench-queue bench-fairness fuzz lint format generate image clean
# Options for another Node are none of the pinned one's business.
unexport NODE_OPTIONS

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## install what Chasqui needs, Node included, into node_modules

# npm runs on whatever Node there is, and would warn of packages that need the one it is about to install.
$(INSTALLED): package-lock.json
	@command -v npm >/dev/null || { echo 'make: npm is missing: install Node >= 20 (https://nodejs.org)' >&2; exit 69; }
	npm ci --loglevel=error --no-progress
# npm 10 links the Node of this platform, and removes the link again together with the packages for the others.
	@cd $(BIN) && ln -sf ../node-*/bin/node node
	@touch $@

run: install ## run the quickstart: a relay, a demo receiver, and what to try next
	@exec $(NODE) examples/quickstart/run.ts

test: install ## check and test everything
	@sh test/prepare.sh
	@$(MAKE) --no-print-directory lint
	env -u CHASQUI_STATE $(NODE) --test --test-concurrency=2 --test-timeout=180000 '$(SOURCES)/**/!(*.api|*.e2e).test.ts'

# Where KUBECONFIG is set, the tests use that cluster, one after the other. Otherwise each file has an API server of its own.
test-api: install ## run the tests that need a Kubernetes API server (built once from Go modules, in minutes)
	@sh test/prepare.sh
	@if [ -n "$$KUBECONFIG" ]; then test/cluster/binaries/build kubectl helm; \
	  else test/cluster/binaries/build etcd kube-apiserver kubectl kube-controller-manager helm cert-manager; fi >/dev/null
	$(NODE) --test --test-concurrency=$$([ -n "$$KUBECONFIG" ] && echo 1 || echo 2) --test-timeout=300000 \
	  '$(SOURCES)/**/*.api.test.ts'

# Where KUBECONFIG is set, the tests use that cluster; IMPORT_IMAGE is the command that brings it an image of a file.
# Otherwise the one of `make cluster`, which is started for the tests when it does not run, and ended after them.
e2e: install ## run the tests that need pods, on a test cluster (Linux and root) or on yours
	@sh test/prepare.sh
	NODE=$(NODE) test/cluster/e2e $(NODE) --test --test-concurrency=1 --test-timeout=600000 '$(SOURCES)/**/*.e2e.test.ts'

cluster: install ## start a Kubernetes of one node on this machine (Linux and root), and say how it is reached
	@sh test/prepare.sh cluster
	@$(NODE) test/cluster/node/up.ts

cluster-down: install ## end it
	@$(NODE) test/cluster/node/down.ts

soak: install ## run the tests that take long: a hundred kills, a kill at each system call of the queue, a thousand domains (an hour and a half)
	@test/cluster/binaries/build etcd kube-apiserver kubectl kube-controller-manager >/dev/null
	$(NODE) --test --test-concurrency=1 --test-timeout=5400000 'test/**/*.soak.ts'

# Peers that are not installed are left out, and named; test/bench/install has them (as root, from apt and npm).
bench: install ## compare with Postfix, Postfix+OpenDKIM and Haraka on this machine (minutes; quote ratios of one run)
	@mkdir -p .cache/bench
	PEERS=$${PEERS:-$(CURDIR)/.cache/bench/peers} test/bench/compare --relay-name chasqui \
	  --relay-start '$(CURDIR)/test/bench/start plain' --relay-port 2525 --sizes 4096,102400 --reuse 0,1 \
	  --peers postfix,haraka --out .cache/bench/plain.json
	PEERS=$${PEERS:-$(CURDIR)/.cache/bench/peers} test/bench/compare --relay-name chasqui \
	  --relay-start '$(CURDIR)/test/bench/start plain' --relay-port 2525 --relay-submission-port 2587 \
	  --relay-credential "$${PEERS:-$(CURDIR)/.cache/bench/peers}/chasqui/state/secrets/default/app-smtp" \
	  --submission --peers postfix --out .cache/bench/submission.json
	PEERS=$${PEERS:-$(CURDIR)/.cache/bench/peers} test/bench/compare --relay-name chasqui \
	  --relay-start '$(CURDIR)/test/bench/start signed' --relay-port 2525 --sizes 4096 \
	  --peers postfix-opendkim,haraka-dkim --expect-dkim --out .cache/bench/signed.json

bench-queue: install ## measure a replica with a million messages in its queue (an hour, 7 GB in QUEUE_FOLDER or /tmp)
	$(NODE) test/bench/queue/measure.ts --messages $${QUEUE_MESSAGES:-1000000} $${QUEUE_FOLDER:+--folder "$$QUEUE_FOLDER"}

bench-fairness: install ## measure what a bad destination, or a sender with a long queue, does to others (minutes)
	$(NODE) test/bench/fairness/measure.ts $(PARTS)

fuzz: install ## feed the relay what nobody should send, for minutes, differently each time
	FUZZ_RUNS=$${FUZZ_RUNS:-5000} $(NODE) --test --test-concurrency=1 --test-timeout=3600000 'test/fuzz/*.{test,soak}.ts'

lint: install ## check format, style, types and dead code
	$(BIN)/biome ci .
	$(BIN)/oxlint --type-aware --deny-warnings
	$(BIN)/tsc --noEmit
	$(BIN)/knip

format: install ## format, and fix what can be fixed safely
	$(BIN)/biome check --write .

generate: install ## write the CRDs, docs/configuration.md and docs/metrics.md from the sources
	$(NODE) crds/generate.ts
	$(NODE) docs/generate.ts

image: install ## build the container image into .cache/image, on this machine's base or on BASE=... (needs buildah)
	@command -v buildah >/dev/null || { echo 'make: buildah is missing (Debian package buildah); or: docker build .' >&2; exit 69; }
	@$(NODE) image/build.ts

clean: ## remove what was installed; state folders stay
	rm -rf node_modules .venv .cache
