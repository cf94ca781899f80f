-- Makes known that one table's oldest partition fits its coming range.
SELECT hark.validate_oldest($1)
