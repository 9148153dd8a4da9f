"""Where files and tables lie: local folders, S3, and stores that speak its protocol."""
