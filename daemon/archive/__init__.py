"""Where history goes before it is dropped: files of JSON Lines, compressed, in a directory or in S3."""
