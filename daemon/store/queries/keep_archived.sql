-- Keeps an archived workflow as it is until the end of the transaction: nobody publishes. Nothing when it is gone or in use.
UPDATE hark.workflows SET status = status WHERE tenant_id = $1 AND id = $2 AND status = 'archived' RETURNING id
