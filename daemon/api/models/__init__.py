"""The shapes of answers: what OpenAPI describes, what the client gives, what the tests hold answers to."""
