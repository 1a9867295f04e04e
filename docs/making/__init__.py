"""What makes the site of these pages, and runs their code."""
