"""CEL, the expression language: read and type-checked by Google's library, evaluated here."""
