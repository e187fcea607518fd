"""Several workers; WEB_CONCURRENCY is their number, which gunicorn reads itself."""

import os

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "4"))
worker_class = "uvicorn_worker.UvicornWorker"
# Safe with this service, since nothing of its telemetry starts before the fork: it is set up in the lifespan.
preload_app = os.environ.get("PRELOAD_APP") == "1"
# What streams when a worker is told to stop is given this many seconds to end.
graceful_timeout = 30
