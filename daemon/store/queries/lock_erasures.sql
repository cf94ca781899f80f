-- Lets no erasure begin, or be noted as done, until the end of this transaction. For what is rare: it waits for others.
LOCK TABLE hark.erasures IN SHARE MODE
