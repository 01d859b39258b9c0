"""`make torture`: kill the daemon again and again, and compare what was asked, what it booked and what was received."""
