-- Sets lanes right whose count or slots are not what they should be; in how many there was something.
SELECT hark.sweep_lanes()
