"""Choice of teacher, student and input size for `auto`; search under a budget."""
