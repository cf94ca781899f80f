-- All tenants: which name in a webhook's address is whose.
SELECT id, slug FROM hark.tenants
