"""`auto` becomes a name and a reason: teacher, student, input size, and the search under a budget."""
