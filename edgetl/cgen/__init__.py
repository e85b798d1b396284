"""C99 for microcontrollers: an int8 graph read into a plan of typed operators, and the plan written as two files of C."""
