-- Gives the own licence back at an orderly end.
DELETE FROM hark.instances WHERE id = $1
