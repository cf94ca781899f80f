-- The server's version as a number (150008) and as a name.
SELECT current_setting('server_version_num')::integer AS number, current_setting('server_version') AS name
