"""The embedded PostgreSQL: found, initialised, started, shared and stopped by Hark itself."""
