"""The HTTP side: REST, webhooks, health, metrics."""
