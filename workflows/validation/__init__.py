"""Checking definitions: their structure, their names, and everything that can be known before they run."""
