"""The training loop of teacher and student; losses, schedules, frozen features."""
