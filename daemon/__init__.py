"""The long-running process: store, engine, API, command line."""
