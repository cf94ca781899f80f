"""The other forms in which a workflow may be written, and how each becomes the native one."""
