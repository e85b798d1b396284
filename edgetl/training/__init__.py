"""One fit loop for teachers and students; losses, schedules, frozen features."""
