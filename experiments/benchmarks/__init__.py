"""Speed: one script per question; each prints the machine and the shapes."""
