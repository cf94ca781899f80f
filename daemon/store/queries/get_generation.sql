-- How often the set of active workflows has changed.
SELECT generation FROM hark.registry
